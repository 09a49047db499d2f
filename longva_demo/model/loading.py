"""`load`: a model name in; out a model that is ready to answer, or a one-line error with a remedy."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig
from transformers.utils import is_flash_attn_2_available
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from longva_demo.errors import DemoError, ModelError, one_line
from longva_demo.model.adapter import apply_adapter, describe_adapter, find_adapter
from longva_demo.model.choice import TINY, Choice, choose, probe_host
from longva_demo.model.config import LongVAConfig
from longva_demo.model.estimate import Estimate, estimate
from longva_demo.model.fit import DTYPES, Checkpoint, check_memory, find_quant
from longva_demo.model.flash_kernel import FLASH_KERNEL, check_flash_kernel, load_flash_kernel
from longva_demo.model.hub import check_weights, locate, revision_of
from longva_demo.model.int8 import Int8Config
from longva_demo.model.longva import LongVAForConditionalGeneration
from longva_demo.model.processor import LongVAProcessor

log = logging.getLogger(__name__)

QUANTS = ("auto", "none", "8bit", "4bit")
ATTENTIONS = ("auto", "flash_attention_2", FLASH_KERNEL, "sdpa")
# Modules that 4-bit loading skips. bitsandbytes matches each entry with the START of a module's full name, and a custom
# list replaces its default rule to skip lm_head.
NOT_QUANTISED = ("model.vision_tower", "model.mm_projector", "lm_head")
# Why "auto" quantised a model, for the user.
QUANT_REASONS = {
    "4bit": " It is quantised to 4 bits so that long videos fit in GPU memory; --quant none turns this off.",
    "8bit": " It is quantised to 8 bits, in which a processor answers fastest; --quant none turns this off.",
}
REASON_FRAMES = 8  # frames of which the reason estimates the time


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, with what was loaded and why.

    Attributes:
        revision: the Hub's commit, or a hash of the weights.
        attention: "flash_attention_2", "flash_kernel" or "sdpa".
        reason: why this model was chosen, for the user.
        adapter: how a LoRA adapter was applied: "merged", "kept", or "" without one.
        estimate: how long it takes on this processor; None on a GPU, and for a small model.
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
    adapter: str = ""
    estimate: Estimate | None = None


def load(
    model_id: str = "auto", quant: str = "none", device: str = "auto", dtype: str = "auto", attention: str = "auto"
) -> LoadedModel:
    """Load a LongVA model.

    Args:
        model_id: a Hub name, a folder (a checkpoint, or a LoRA adapter), "tiny" (the built-in model), or "auto":
            LongVA-7B if it fits and is available, else the built-in model.
        quant: "none", "8bit" (int8, on the CPU only), "4bit" (NF4 with double quantisation), or "auto": on a GPU by
            its free memory; on the CPU 8-bit for a model of the 7B's size.
        device: "auto" (CUDA if available), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (bfloat16 on GPUs that support it, float32 on the CPU) or a key of DTYPES.
        attention: "auto" (flash-attn if installed), "flash_attention_2", "flash_kernel" (downloads one) or "sdpa".
    Raises:
        ModelError: the model cannot be found, downloaded, read or held in memory, or an option is not supported here.
    """
    for name, value, allowed in (("quant", quant, QUANTS), ("attention", attention, ATTENTIONS)):
        if value not in allowed:
            raise ModelError(f"{value!r} is not a valid {name}", f"use one of {', '.join(allowed)}")
    torch_device = find_device(device)
    torch_dtype = find_dtype(dtype, torch_device)
    backend = find_attention(attention, torch_device, torch_dtype)
    if model_id != "auto":
        reason = f"Using {'the small built-in model' if model_id == TINY else model_id}, as requested."
        return log_reason(load_choice(Choice(model_id, quant, reason), torch_device, torch_dtype, backend))
    # Off CUDA, "auto" is always the built-in model, and the network is not used.
    choice = choose(probe_host(torch_device), quant)
    return log_reason(load_or_fall_back(choice, torch_device, torch_dtype, backend))


def load_or_fall_back(choice: Choice, device: torch.device, dtype: torch.dtype, attention: str) -> LoadedModel:
    """Load the chosen model, or if that fails the built-in one, with the failure as its reason."""
    try:
        return load_choice(choice, device, dtype, attention)
    except DemoError as error:
        if choice.model_id == TINY:
            raise
        reason = f"Using the small built-in model because {choice.model_id} could not be loaded ({error})."
        return load_choice(Choice(TINY, "none", reason), device, dtype, attention)


def log_reason(loaded: LoadedModel) -> LoadedModel:
    log.info("%s", loaded.reason)
    return loaded


def load_choice(choice: Choice, device: torch.device, dtype: torch.dtype, attention: str) -> LoadedModel:
    """Load exactly this model, or raise ModelError."""
    adapter = find_adapter(choice.model_id)

    def check_fit(checkpoint: Checkpoint) -> str:
        quant = find_quant(checkpoint, choice.quant, device)
        if quant == "4bit" and device.type == "mps":
            raise ModelError("4-bit weights are not supported on Apple GPUs (MPS)", "use --quant none, or --device cpu")
        check_memory(choice.model_id, checkpoint, quant, device, dtype)
        return quant

    model_id = adapter.base_id if adapter else choice.model_id
    folder = locate(model_id, lambda values, num_bytes: check_fit(Checkpoint(values, num_bytes)))
    checkpoint = Checkpoint.of(folder)
    quant = check_fit(checkpoint)
    reason = choice.reason + (QUANT_REASONS.get(quant, "") if choice.quant == "auto" else "")
    check_weights(folder)
    implementation = load_flash_kernel() if attention == FLASH_KERNEL else attention
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": implementation, "ignore_mismatched_sizes": True}
    if quant != "none" and checkpoint.stored_quant is None:
        options["quantization_config"] = quantisation(quant, checkpoint, dtype)
    if device.type != "cpu" or (quant != "none" and not checkpoint.is_int8(quant)):
        options["device_map"] = {"": device}
    with one_line_errors(choice.model_id, folder), no_progress_bar(choice.model_id == TINY):
        model, info = LongVAForConditionalGeneration.from_pretrained(folder, output_loading_info=True, **options)
        processor = LongVAProcessor.from_pretrained(folder)
        check_processor(processor, model.config)
    check_loaded(folder, info)
    revision, how = revision_of(folder), ""
    if adapter is not None:
        with one_line_errors(choice.model_id, adapter.folder):
            model, how = apply_adapter(model, adapter, quant)
        revision, reason = f"{revision}+{adapter.revision}", f"{reason} {describe_adapter(adapter, how)}"
    times = estimate(model.config) if checkpoint.is_int8(quant) and checkpoint.is_large else None
    if times is not None:
        reason += f" On this processor it takes {times.sentence(REASON_FRAMES)}."
    return LoadedModel(
        model=model.eval(),
        processor=processor,
        model_id=choice.model_id,
        revision=revision,
        quant=quant,
        device=device,
        dtype=dtype,
        attention=attention,
        reason=reason,
        adapter=how,
        estimate=times,
    )


def quantisation(quant: str, checkpoint: Checkpoint, dtype: torch.dtype) -> QuantizationConfigMixin:
    """How to quantise 16-bit weights while they are loaded."""
    if quant == "8bit":
        return Int8Config(embedding_dtype=str(checkpoint.dtype).removeprefix("torch."))
    return nf4_config(dtype)


def check_loaded(folder: Path, info: dict[str, Any]) -> None:
    """Raise ModelError if a tensor is missing or has another shape: transformers would initialise it randomly."""
    missing, mismatched = sorted(info["missing_keys"]), sorted(info["mismatched_keys"])
    wrong = mismatched or missing
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    if mismatched:
        name, found, wanted = mismatched[0]
        shapes = f"is {' × '.join(map(str, found))}, but config.json says {' × '.join(map(str, wanted))}"
        remedy = "use config.json and weights of the same model"
        raise ModelError(f"the weights in {folder} do not match: {name} {shapes}{more}", remedy)
    if missing:
        raise ModelError(f"the weights in {folder} have no {missing[0]}{more}", "download the model again")


def check_processor(processor: LongVAProcessor, config: LongVAConfig) -> None:
    """Raise ValueError if a saved processor makes frames of another size, or counts other tokens, than the model."""
    frames = processor.video_processor
    found = (frames.side, processor.image_processor.side, frames.num_tokens(1), processor.image_processor.num_tokens(2))
    side = config.vision_config.image_size
    if found != (side, side, config.tokens_per_frame, config.tokens_per_grid):
        raise ValueError("processor_config.json has another size, patch_size or pool_stride than config.json")


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantisation; the vision tower, the projector and lm_head keep full precision."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("4-bit loading requires bitsandbytes", "pip install bitsandbytes, or use --quant none")
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
        found = torch.device(device)
    except RuntimeError:
        raise ModelError(f"{device!r} is not a valid device", "use auto, cpu, cuda, cuda:1 or mps") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"CUDA device {device!r} is not available", "use --device cpu, or a PyTorch built for CUDA")
    if found.type not in ("cpu", "cuda", "mps"):
        raise ModelError(f"{device!r} is not a supported device", "use auto, cpu, cuda, cuda:1 or mps")
    if found.type == "mps" and (not torch.backends.mps.is_available() or found.index):
        raise ModelError(f"no Apple GPU (MPS) {device!r} is available", "use --device cpu")
    return found


def find_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ModelError(f"{dtype!r} is not a valid dtype", f"use one of auto, {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32 if device.type == "cpu" else torch.float16


def find_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    """flash-attn requires CUDA and a 16-bit dtype; SDPA (chunked, see attention.py) works everywhere."""
    if attention == FLASH_KERNEL:
        check_flash_kernel(device, dtype)
        return attention
    is_available = device.type == "cuda" and dtype != torch.float32 and is_flash_attn_2_available()
    if attention == "auto":
        return "flash_attention_2" if is_available else "sdpa"
    if attention == "flash_attention_2" and not is_available:
        raise ModelError(
            "flash_attention_2 requires the package flash-attn, a CUDA GPU and a 16-bit dtype", "use --attention sdpa"
        )
    return attention


@contextmanager
def one_line_errors(model_id: str, folder: Path) -> Iterator[None]:
    """Turn any error of loading into a ModelError of one line with a remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{model_id} does not fit into GPU memory", "close other programs, or use --quant 4bit or --model tiny"
        ) from error
    except MemoryError as error:
        raise ModelError(f"{model_id} does not fit into memory", "close other programs or use --model tiny") from error
    except SafetensorError as error:
        raise ModelError(f"the weights in {folder} are corrupt ({error})", "delete them and download again") from error
    except KeyError as error:
        raise ModelError(
            f"{model_id} cannot be loaded: {error} is missing", "check its files or use another model"
        ) from error
    except ModelError:
        raise
    except BaseException as error:  # a damaged file may raise anything, and a panic of tokenizers is not an Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        line = one_line(" ".join(str(error).split())[:300])
        if "MPS backend out of memory" in line:
            message, remedy = f"{model_id} does not fit into memory", "close other programs or use --model tiny"
            raise ModelError(message, remedy) from error
        raise ModelError(f"{model_id} cannot be loaded: {line}", "check its files or use another model") from error


@contextmanager
def no_progress_bar(is_hidden: bool) -> Iterator[None]:
    """Hide transformers' progress bar, for weights that load in an instant."""
    if not is_hidden or not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
