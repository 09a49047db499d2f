"""Resolves the model "auto": a description of this machine in, a choice and its reason out."""

import importlib.util
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from longva_demo.model.config import LongVAConfig
from longva_demo.model.hub import can_reach, find_cached, hub_cache

LONGVA_7B = "lmms-lab/LongVA-7B-DPO"
PUBLISHED = (LONGVA_7B, "lmms-lab/LongVA-7B", "ruili0/LongVA-7B-TPO")  # by the authors of LongVA and of its tunings
TINY = "tiny"
GB = 1e9

# Memory of LongVA-7B's weights. bf16: 7.94 billion parameters of 2 bytes. 4-bit: the language model's linear
# layers at 0.52 bytes per parameter; embeddings, lm_head, vision tower and projector stay in bf16. 8-bit, on the CPU: a
# byte per parameter of the linear layers and lm_head; vision tower and projector are in float32, and the embedding is
# read from its file, which is not counted.
WEIGHT_BYTES = {"none": 15.9 * GB, "4bit": 6.2 * GB, "8bit": 8.4 * GB}
DOWNLOAD_BYTES = 15.9 * GB
WORKSPACE_BYTES = 2.5 * GB  # activations of one prefill chunk, the vision tower's batch, the CUDA context
MIN_FRAMES = 128  # LongVA-7B is not chosen if fewer frames than this fit
CPU_WORKSPACE_BYTES = 0.6 * GB  # activations of one prefill chunk, and Python
CPU_FRAMES = 16  # without a GPU, memory is checked for this many frames


@dataclass(frozen=True)
class HostInfo:
    """What the choice depends on. Byte counts are of free memory; without a GPU, `gpu_name` is None.

    `memory_bytes` is free host memory, or None if the model is not to run on the processor.
    """

    gpu_name: str | None = None
    gpu_bytes: int = 0
    is_cached: bool = False
    is_reachable: bool = False
    disk_bytes: int = 0
    has_bitsandbytes: bool = False
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Choice:
    model_id: str
    quant: str
    reason: str


def probe_host(device: torch.device) -> HostInfo:
    """Inspect this machine for a model on `device`. The Hub is contacted only for CUDA, if the model is not cached."""
    has_bitsandbytes = is_installed("bitsandbytes")
    if device.type == "cpu":
        return HostInfo(has_bitsandbytes=has_bitsandbytes, memory_bytes=psutil.virtual_memory().available)
    if device.type != "cuda" or not torch.cuda.is_available():
        return HostInfo(has_bitsandbytes=has_bitsandbytes)
    is_cached = find_cached(LONGVA_7B) is not None
    return HostInfo(
        gpu_name=torch.cuda.get_device_name(device),
        gpu_bytes=free_gpu_bytes(device) or 0,
        is_cached=is_cached,
        is_reachable=not is_cached and can_reach(LONGVA_7B),
        disk_bytes=free_disk(hub_cache()),
        has_bitsandbytes=has_bitsandbytes,
    )


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def free_gpu_bytes(device: torch.device) -> int | None:
    """Free memory of a CUDA GPU, or None if the driver cannot report it (ZeroGPU attaches a GPU only per call)."""
    try:
        return torch.cuda.mem_get_info(device)[0]
    except RuntimeError:
        return None


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def needed_cpu_bytes(num_frames: int = CPU_FRAMES) -> float:
    """Host memory that LongVA-7B needs in 8 bits, with a KV cache in float32."""
    config = LongVAConfig()
    num_tokens = num_frames * config.tokens_per_frame
    return WEIGHT_BYTES["8bit"] + CPU_WORKSPACE_BYTES + num_tokens * config.kv_bytes_per_token(torch.float32)


def needed_bytes(quant: str, num_frames: int | None = None) -> float:
    """GPU memory that LongVA-7B needs for `num_frames` frames, or by default for its whole context."""
    config = LongVAConfig()
    num_tokens = config.context_length if num_frames is None else num_frames * config.tokens_per_frame
    return WEIGHT_BYTES[quant] + WORKSPACE_BYTES + num_tokens * config.kv_bytes_per_token(torch.bfloat16)


def fits(quant: str, gpu_bytes: int, has_bitsandbytes: bool) -> bool:
    """Whether LongVA-7B can be used in this precision, with at least MIN_FRAMES frames."""
    return gpu_bytes >= needed_bytes(quant, MIN_FRAMES) and (quant != "4bit" or has_bitsandbytes)


def choose_quant(gpu_bytes: int, has_bitsandbytes: bool) -> str | None:
    """Choose the precision of LongVA-7B, or return None if it does not fit.

    bf16 if the whole context fits too, else 4-bit if MIN_FRAMES fit, else bf16 if MIN_FRAMES fit.

    >>> [choose_quant(int(gigabytes * 1e9), True) for gigabytes in (80, 25, 12, 8)]
    ['none', '4bit', '4bit', None]
    """
    if gpu_bytes >= needed_bytes("none"):
        return "none"
    return next((quant for quant in ("4bit", "none") if fits(quant, gpu_bytes, has_bitsandbytes)), None)


def choose(host: HostInfo, quant: str = "auto") -> Choice:
    """Choose LongVA-7B if it fits and is available, else the small built-in model. Never fails.

    Args:
        quant: "auto", or the precision that the user requested.
    """

    def fall_back(why: str) -> Choice:
        remedy = f"to use another model: --model {LONGVA_7B}"
        return Choice(TINY, "none", f"Using the small built-in model because {why}; {remedy}.")

    if host.gpu_name is None:
        built_in = fall_back("no CUDA GPU is in use")
        return built_in if host.memory_bytes is None else replace(built_in, reason=f"{built_in.reason} {on_cpu(host)}")
    if quant == "8bit":
        return fall_back("8-bit weights run on the processor only")
    if quant == "auto":
        chosen = choose_quant(host.gpu_bytes, host.has_bitsandbytes)
    else:
        chosen = quant if fits(quant, host.gpu_bytes, host.has_bitsandbytes) else None
    gpu = f"{host.gpu_name} with {host.gpu_bytes / GB:.0f} GB free"
    if chosen is None:
        needed = needed_bytes("none" if quant == "none" else "4bit", MIN_FRAMES) / GB
        missing = "" if host.has_bitsandbytes else ", and bitsandbytes is not installed"
        return fall_back(f"LongVA-7B needs {needed:.0f} GB of GPU memory, but the GPU is {gpu}{missing}")
    if not host.is_cached:
        if not host.is_reachable:
            return fall_back("LongVA-7B is not in the cache and the Hugging Face Hub is unreachable")
        if host.disk_bytes < DOWNLOAD_BYTES:
            free = f"{host.disk_bytes / GB:.1f} GB are free"
            return fall_back(f"LongVA-7B needs {DOWNLOAD_BYTES / GB:.0f} GB of disk space, but only {free}")
    precision = "4-bit" if chosen == "4bit" else "bf16"
    source = "its weights are in the cache" if host.is_cached else "its weights can be downloaded"
    reason = f"Using {LONGVA_7B} in {precision} because the GPU is {gpu} and {source}"
    return Choice(LONGVA_7B, chosen, f"{reason}; to use another: --model or --quant.")


def on_cpu(host: HostInfo) -> str:
    """What LongVA-7B needs without a GPU, one sentence."""
    needed = needed_cpu_bytes()
    verdict = "are free" if needed <= (host.memory_bytes or 0) else "are not free"
    memory = f"LongVA-7B runs on the processor in 8 bits and needs {needed / GB:.1f} GB of memory, which {verdict}."
    return f"{memory} longva-demo doctor estimates how long it takes."
