"""`load`: a name in, a model that is ready to answer out, or one clear line that says what to do."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig
from transformers.utils import is_flash_attn_2_available
from transformers.utils import logging as transformers_logging

from longva_demo.errors import DemoError, ModelError
from longva_demo.model.choice import (
    TINY,
    WEIGHT_BYTES,
    Choice,
    Facts,
    choose,
    choose_quant,
    free_gpu_bytes,
    probe_facts,
)
from longva_demo.model.hub import check_weights, locate, read_json, revision_of, weight_bytes
from longva_demo.model.longva import LongVAForConditionalGeneration
from longva_demo.model.processor import LongVAProcessor

log = logging.getLogger(__name__)

QUANTS = ("auto", "none", "4bit")
ATTENTIONS = ("auto", "flash_attention_2", "sdpa")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Left as they are in 4 bits. bitsandbytes compares these with the START of a module's full name, and any list of ours
# takes the place of its own rule to leave lm_head alone.
NOT_QUANTISED = ("model.vision_tower", "model.mm_projector", "lm_head")
BYTES_LEFT_BY_4BIT = 0.4  # 6.2 GB of 15.9 GB in LongVA-7B


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, what it is, and why it was chosen.

    revision: the Hub's commit, or a hash of the weights. attention: "flash_attention_2" or "sdpa".
    reason: one sentence for the user.
    """

    model: LongVAForConditionalGeneration
    processor: LongVAProcessor
    model_id: str
    revision: str
    quant: str
    device: torch.device
    dtype: torch.dtype
    attention: str
    reason: str


def load(
    model_id: str = "auto", quant: str = "none", device: str = "auto", dtype: str = "auto", attention: str = "auto"
) -> LoadedModel:
    """Load a LongVA.

    Args:
        model_id: a Hub name, a folder, "tiny" (the built-in one), or "auto": LongVA-7B where it can run and be had,
            else the built-in one, never an error for want of the former.
        quant: "none", "4bit" (NF4 with double quantisation), or "auto" by the GPU's free memory.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (bfloat16 on GPUs that have it, float32 on the CPU) or a name of DTYPES.
        attention: "auto" (flash-attn where it is installed), "flash_attention_2" or "sdpa".
    Raises:
        ModelError: it cannot be found, downloaded, read, or held in memory; or a choice that this machine lacks.
    """
    for name, value, allowed in (("quant", quant, QUANTS), ("attention", attention, ATTENTIONS)):
        if value not in allowed:
            raise ModelError(f"{name} is {value!r}", f"use one of {', '.join(allowed)}")
    place = find_device(device)
    number_format = find_dtype(dtype, place)
    how = find_attention(attention, place, number_format)
    if model_id != "auto":
        reason = f"{'The small built-in model' if model_id == TINY else model_id} was asked for."
        return log_reason(load_chosen(Choice(model_id, quant, reason), place, number_format, how))
    # Without CUDA in play nothing is probed, and the network is left alone.
    choice = choose(probe_facts() if place.type == "cuda" else Facts(), quant)
    return log_reason(load_or_fall_back(choice, place, number_format, how))


def load_or_fall_back(choice: Choice, device: torch.device, dtype: torch.dtype, attention: str) -> LoadedModel:
    """What was chosen, or the built-in model with the reason why the choice failed."""
    try:
        return load_chosen(choice, device, dtype, attention)
    except DemoError as error:
        if choice.model_id == TINY:
            raise
        because = f"The small built-in model was chosen because {choice.model_id} could not be loaded ({error})."
        return load_chosen(Choice(TINY, "none", because), device, dtype, attention)


def log_reason(loaded: LoadedModel) -> LoadedModel:
    log.info("%s", loaded.reason)
    return loaded


def load_chosen(choice: Choice, device: torch.device, dtype: torch.dtype, attention: str) -> LoadedModel:
    """Load exactly this one, or raise ModelError."""
    folder = locate(choice.model_id)
    already_quantised = "quantization_config" in read_json(folder / "config.json")
    quant, reason = choice.quant, choice.reason
    if quant == "auto":
        quant = fitting_quant(folder, device)
        if quant == "4bit":
            reason += " It is in 4 bits so that long videos fit beside it; --quant none keeps it in full."
    if already_quantised:
        quant = "4bit"
    check_memory(choice.model_id, folder, quant, device, dtype)
    check_weights(folder)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention, "ignore_mismatched_sizes": True}
    if quant == "4bit" and not already_quantised:
        options["quantization_config"] = four_bits(dtype)
    if quant == "4bit" or device.type != "cpu":
        options["device_map"] = {"": device}
    with readable_errors(choice.model_id, folder), quiet(choice.model_id == TINY):
        model, info = LongVAForConditionalGeneration.from_pretrained(folder, output_loading_info=True, **options)
        processor = LongVAProcessor.from_pretrained(folder)
    check_loaded(folder, info)
    return LoadedModel(
        model=model.eval(),
        processor=processor,
        model_id=choice.model_id,
        revision=revision_of(folder),
        quant=quant,
        device=device,
        dtype=dtype,
        attention=attention,
        reason=reason,
    )


def check_loaded(folder: Path, info: dict[str, Any]) -> None:
    """Raise ModelError where a tensor is missing, or of another shape: transformers would make up its values."""
    missing, mismatched = sorted(info["missing_keys"]), sorted(info["mismatched_keys"])
    wrong = mismatched or missing
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    if mismatched:
        name, found, wanted = mismatched[0]
        shapes = f"is {' × '.join(map(str, found))} where config.json says {' × '.join(map(str, wanted))}"
        remedy = "take config.json and weights from the same model"
        raise ModelError(f"the weights in {folder} do not fit: {name} {shapes}{more}", remedy)
    if missing:
        raise ModelError(f"the weights in {folder} lack {missing[0]}{more}", "download the model again")


def four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantisation; what sees and what speaks the words stay in full."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("4-bit loading needs bitsandbytes", "pip install bitsandbytes, or use --quant none")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(NOT_QUANTISED),
    )


def find_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ModelError(f"device is {device!r}", "use auto, cpu, cuda, cuda:1 or mps") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"there is no CUDA GPU for {device!r}", "use --device cpu, or a PyTorch built for CUDA")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("there is no Apple GPU here", "use --device cpu")
    return place


def find_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ModelError(f"dtype is {dtype!r}", f"use one of auto, {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32 if device.type == "cpu" else torch.float16


def find_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    """flash-attn works on CUDA in 16 bits; SDPA (with the chunks of attention.py) everywhere."""
    possible = device.type == "cuda" and dtype != torch.float32 and is_flash_attn_2_available()
    if attention == "auto":
        return "flash_attention_2" if possible else "sdpa"
    if attention == "flash_attention_2" and not possible:
        raise ModelError(
            "flash_attention_2 needs the package flash-attn, a CUDA GPU and a 16-bit dtype", "use --attention sdpa"
        )
    return attention


def fitting_quant(folder: Path, device: torch.device) -> str:
    """4-bit for a model of the 7B's size on a GPU that has no room for it and its whole context in 16 bits."""
    if device.type != "cuda" or bytes_in(torch.float16, folder) < WEIGHT_BYTES["none"] / 2:
        return "none"
    has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
    return choose_quant(free_gpu_bytes(device) or 0, has_bitsandbytes) or "none"


def bytes_in(dtype: torch.dtype, folder: Path) -> float:
    """Bytes that a checkpoint's weights take in `dtype`."""
    values = read_json(folder / "config.json")
    stored = DTYPES.get(str(values.get("torch_dtype", values.get("dtype"))), torch.bfloat16)
    return weight_bytes(folder) * dtype.itemsize / stored.itemsize


def check_memory(model_id: str, folder: Path, quant: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ModelError before loading what memory cannot hold."""
    needed = bytes_in(dtype, folder)
    if quant == "4bit":
        needed = min(needed, bytes_in(torch.float16, folder) * BYTES_LEFT_BY_4BIT)
    what = "GPU memory" if device.type == "cuda" else "memory"
    free = free_gpu_bytes(device) if device.type == "cuda" else psutil.virtual_memory().available
    if free is not None and needed > free:
        smaller = "" if quant == "4bit" else "--quant 4bit, "
        raise ModelError(
            f"{model_id} needs {needed / 1e9:.1f} GB of {what} and {free / 1e9:.1f} GB are free",
            f"close other programs, or use {smaller}another --device or --model tiny",
        )


@contextmanager
def readable_errors(model_id: str, folder: Path) -> Iterator[None]:
    """Turn what loading can raise into one line and a remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{model_id} does not fit into GPU memory", "close other programs, or use --quant 4bit or --model tiny"
        ) from error
    except MemoryError as error:
        raise ModelError(f"{model_id} does not fit into memory", "close other programs or use --model tiny") from error
    except SafetensorError as error:
        raise ModelError(f"the weights in {folder} are damaged ({error})", "delete them and download again") from error
    except KeyError as error:
        raise ModelError(
            f"{model_id} cannot be loaded: {error} is missing", "check its files or use another"
        ) from error
    except (OSError, ValueError, RuntimeError, TypeError, ArithmeticError) as error:
        line = " ".join(str(error).split())
        raise ModelError(f"{model_id} cannot be loaded: {line[:300]}", "check its files or use another") from error


@contextmanager
def quiet(is_quiet: bool) -> Iterator[None]:
    """No bar of transformers' own for weights that are read in an instant."""
    if not is_quiet or not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
