"""LoRA adapters in peft's format: a folder with adapter_config.json, applied to the model that it names."""

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from longva_demo.errors import ModelError, short
from longva_demo.model.hub import read_json

if TYPE_CHECKING:
    from longva_demo.model.longva import LongVAForConditionalGeneration

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Weights that LLaVA's own scripts write beside an adapter: those of the projector, which were trained too.
OTHER_WEIGHTS = "non_lora_trainables.bin"
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
    if not (folder / WEIGHTS).is_file():
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
    return Adapter(folder, find_base(folder, base))


def find_base(folder: Path, base: object) -> str:
    """The model of an adapter. A relative path starts at the working directory, as in peft, or at the adapter."""
    if not isinstance(base, str) or not base:
        remedy = "set it to the folder or Hub name of its model"
        raise ModelError(f"{folder / CONFIG} has base_model_name_or_path = {short(base)}", remedy)
    if not Path(base).expanduser().is_dir() and (folder / base).is_dir():
        return str(folder / base)
    if Path(base).is_absolute() and not Path(base).is_dir():
        remedy = f"set base_model_name_or_path in {folder / CONFIG} to a folder or Hub name"
        raise ModelError(f"the model of the adapter, {base}, does not exist here", remedy)
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
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    if quant not in ("none", "4bit"):
        raise ModelError(f"a LoRA adapter cannot be applied to {quant} weights", "use --quant none or --quant 4bit")
    tensors = load_file(adapter.folder / WEIGHTS)
    config = LoraConfig.from_pretrained(str(adapter.folder))
    config.inference_mode = True
    # A list of targets may also match layers that the adapter has no weights for: these must not change anything.
    config.init_lora_weights = config.init_lora_weights or True
    wrapped: Any = PeftModel(model, config, autocast_adapter_dtype=quant == "none")
    result: Any = set_peft_model_state_dict(wrapped, tensors)
    check_used(adapter, set(tensors), result.missing_keys, result.unexpected_keys)
    if quant == "4bit":
        return wrapped.base_model.model, KEPT
    return wrapped.merge_and_unload(safe_merge=True), MERGED


def check_used(adapter: Adapter, names: set[str], missing: Sequence[str], unexpected: Sequence[str]) -> None:
    """Raise ModelError unless the model took every tensor of an adapter, and no layer has half of its own."""
    place = adapter.folder / WEIGHTS
    if not names:
        raise ModelError(f"{place} is empty", "save the adapter again with peft")
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
