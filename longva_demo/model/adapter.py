"""LoRA adapters in peft's format: a folder with adapter_config.json, applied to the model that it names."""

import hashlib
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from longva_demo.errors import ModelError, short
from longva_demo.model.bounds import are_between, check_numbers
from longva_demo.model.checkpoint_files import read_header
from longva_demo.model.choice import PUBLISHED
from longva_demo.model.hub import broken_files, find_cached, read_json

if TYPE_CHECKING:
    from peft import LoraConfig

    from longva_demo.model.longva import LongVAForConditionalGeneration

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Weights that LLaVA's own scripts write beside an adapter: those of the projector, which were trained too.
OTHER_WEIGHTS = "non_lora_trainables.bin"
PREFIX = "base_model.model."  # of the names in WEIGHTS
ALPHA = (0.0, 1e6)  # bounds
SETTINGS = (
    *("lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "lora_bias", "bias"),
    *("fan_in_fan_out", "modules_to_save", "trainable_token_indices"),
)
MERGED, KEPT = "merged", "kept"  # into the weights, or beside them


@dataclass(frozen=True)
class Adapter:
    """A folder with an adapter, and the model that it was trained on: a Hub name or a folder."""

    folder: Path
    base_id: str

    @property
    def revision(self) -> str:
        digest = hashlib.sha256((self.folder / CONFIG).read_bytes())
        digest.update((self.folder / WEIGHTS).read_bytes())
        return digest.hexdigest()[:16]


def find_adapter(model_id: str) -> Adapter | None:
    """The adapter in the folder `model_id`, or None if it is not such a folder.

    Raises:
        ModelError: the adapter is of another kind, incomplete, or not safe to read.
    """
    folder = Path(model_id).expanduser()
    if model_id == "tiny" or not (folder / CONFIG).is_file():
        return None
    values = read_json(folder / CONFIG)
    kind, base = values.get("peft_type"), values.get("base_model_name_or_path")
    if kind != "LORA":
        raise ModelError(f"{folder} is an adapter of type {short(kind)}, not LORA", "merge it into its model first")
    if not (folder / WEIGHTS).exists():
        pickled = (folder / "adapter_model.bin").is_file()
        why = "stores its weights in adapter_model.bin, a pickle, which could run code" if pickled else "has no weights"
        raise ModelError(f"the adapter in {folder} {why}", f"save it again with peft, as {WEIGHTS}")
    if (folder / OTHER_WEIGHTS).is_file():
        message = f"{folder} has further trained weights in {OTHER_WEIGHTS}, a pickle, which could run code"
        raise ModelError(message, "merge them and the adapter into the model first")
    if list(folder.glob("model*.safetensors")):
        raise ModelError(f"{folder} has both a model and an adapter", "keep them in two folders")
    if importlib.util.find_spec("peft") is None:
        raise ModelError(f"{folder} is a LoRA adapter, which requires peft", "pip install peft")
    with broken_files("save the adapter again with peft"):
        read_header(folder / WEIGHTS)
    return Adapter(folder, find_base(folder, base))


def find_base(folder: Path, base: object) -> str:
    """The model of an adapter. A relative path starts at the working directory, as in peft, or at the adapter.

    A stranger's adapter must not choose what is downloaded: a repository on the Hub that is not one of LongVA's authors
    has to be in the cache.
    """
    if not isinstance(base, str) or not base:
        remedy = "set it to the folder or Hub name of its model"
        raise ModelError(f"{folder / CONFIG} has base_model_name_or_path = {short(base)}", remedy)
    if not Path(base).expanduser().is_dir() and (folder / base).is_dir():
        return str(folder / base)
    if Path(base).is_absolute() and not Path(base).is_dir():
        remedy = f"set base_model_name_or_path in {folder / CONFIG} to a folder or Hub name"
        raise ModelError(f"the model of the adapter, {base}, does not exist here", remedy)
    if base not in ("tiny", *PUBLISHED) and not Path(base).expanduser().is_dir() and find_cached(base) is None:
        message = f"the adapter in {folder} is for the model {short(base)}, which is not in the cache"
        raise ModelError(message, "if you trust that model, download it first, with: hf download NAME")
    return base


def apply_adapter(
    model: "LongVAForConditionalGeneration", adapter: Adapter, quant: str
) -> tuple["LongVAForConditionalGeneration", str]:
    """Apply an adapter to its model, which is changed. Returns the model, and MERGED or KEPT.

    It is merged into weights in full precision, which costs nothing afterwards. It is kept beside 4-bit weights:
    merged, they would be rounded to 4 bits again.

    Raises:
        ModelError: it does not fit the model, or cannot be applied to weights of this precision.
    """
    from peft import PeftModel, set_peft_model_state_dict

    if quant not in ("none", "4bit"):
        raise ModelError(f"a LoRA adapter cannot be applied to {quant} weights", "use --quant none or --quant 4bit")
    tensors = load_file(adapter.folder / WEIGHTS)
    if not tensors:
        raise ModelError(f"{adapter.folder / WEIGHTS} is empty", "save the adapter again with peft")
    wrapped: Any = PeftModel(model, lora_config(adapter, tensors), autocast_adapter_dtype=quant == "none")
    result: Any = set_peft_model_state_dict(wrapped, tensors)
    check_used(adapter, result.missing_keys, result.unexpected_keys)
    if quant == "4bit":
        return wrapped.base_model.model, KEPT
    return wrapped.merge_and_unload(safe_merge=True), MERGED


def lora_config(adapter: Adapter, tensors: Mapping[str, torch.Tensor]) -> "LoraConfig":
    """What adapter_config.json says about the weights; the layers are those that have weights.

    peft's other settings name modules to import, regular expressions to match, layers to repeat, and ways to
    initialise weights that are loaded anyway.

    Raises:
        ValueError: a value is not usable.
    """
    from peft import LoraConfig

    values = read_json(adapter.folder / CONFIG)
    layers = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in tensors if ".lora_" in name}
    ranks = {name.removeprefix(PREFIX).partition(".lora_")[0]: len(tensors[name]) for name in tensors if "_A." in name}
    rank = Counter(ranks.values()).most_common(1)[0][0] if ranks else 0
    if not values.get("rank_pattern") and values.get("r", rank) != rank:
        raise ValueError(f"{CONFIG} has r = {short(values['r'])}, but its weights have rank {rank}")
    check_numbers(values, {}, {"lora_alpha": ALPHA}, CONFIG)
    pattern = values.get("alpha_pattern") or {}
    if not isinstance(pattern, dict) or not are_plain(pattern) or not are_between(pattern.values(), *ALPHA):
        raise ValueError(f"{CONFIG} has alpha_pattern = {short(pattern)}; it must have numbers by names of layers")
    modules = values.get("modules_to_save") or []
    if not isinstance(modules, list) or not are_plain(modules):
        raise ValueError(f"{CONFIG} has modules_to_save = {short(modules)}; it must be a list of names")
    others = {re.escape(layer): own for layer, own in ranks.items() if own != rank}
    settings = {name: values[name] for name in SETTINGS if name in values}
    return LoraConfig(target_modules=sorted(layers), r=rank, rank_pattern=others, inference_mode=True, **settings)


def are_plain(names: Iterable[object]) -> bool:
    """Whether all are names of modules without a repetition, which peft would match as regular expressions."""
    return all(isinstance(name, str) and re.fullmatch(r"\^?[\w.]+", name) for name in names)


def check_used(adapter: Adapter, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    """Raise ModelError unless the model took every tensor of an adapter, and no layer has half of its own."""
    place = adapter.folder / WEIGHTS
    if unexpected:
        raise ModelError(f"{place} has {unexpected[0]}, which {adapter.base_id} does not have", "use its own model")
    missing_layers = Counter(name.partition(".lora_")[0] for name in missing if ".lora_" in name)
    halves = sorted(layer for layer, count in missing_layers.items() if count == 1)
    if halves:
        raise ModelError(f"{place} has only one matrix of {halves[0]}", "save the adapter again with peft")


def describe_adapter(adapter: Adapter, how: str) -> str:
    """One sentence for the user."""
    where = "merged into its weights" if how == MERGED else "kept beside its 4-bit weights"
    return f"It is a LoRA adapter for {adapter.base_id}, {where}."
