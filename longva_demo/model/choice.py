"""Which model "auto" means: facts about this machine in, a choice and its reason out."""

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from longva_demo.model.config import LongVAConfig
from longva_demo.model.hub import can_reach, find_cached, hub_cache

LONGVA_7B = "lmms-lab/LongVA-7B-DPO"
TINY = "tiny"
GB = 1e9

# LongVA-7B on the GPU. bf16: 7.94 billion parameters of 2 bytes. 4-bit: the language model's linear layers at
# 0.52 bytes a parameter, with embeddings, lm_head, vision tower and projector left in bf16.
WEIGHT_BYTES = {"none": 15.9 * GB, "4bit": 6.2 * GB}
DOWNLOAD_BYTES = 15.9 * GB
WORK_BYTES = 2.5 * GB  # activations of one prefill chunk, the vision tower's batch, CUDA itself
FEW_FRAMES = 128  # with room for fewer than these, the 7B is not worth its weights


@dataclass(frozen=True)
class Facts:
    """What the choice rests on. Bytes are free ones; no GPU is `gpu_name` None."""

    gpu_name: str | None = None
    gpu_bytes: int = 0
    is_cached: bool = False
    is_reachable: bool = False
    disk_bytes: int = 0
    has_bitsandbytes: bool = False


@dataclass(frozen=True)
class Choice:
    model_id: str
    quant: str
    reason: str


def probe_facts() -> Facts:
    """Look at this machine. The network is asked only where there is a GPU and nothing in the cache."""
    has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
    if not torch.cuda.is_available():
        return Facts(has_bitsandbytes=has_bitsandbytes)
    is_cached = find_cached(LONGVA_7B) is not None
    return Facts(
        gpu_name=torch.cuda.get_device_name(),
        gpu_bytes=free_gpu_bytes(torch.device("cuda")) or 0,
        is_cached=is_cached,
        is_reachable=not is_cached and can_reach(LONGVA_7B),
        disk_bytes=free_disk(hub_cache()),
        has_bitsandbytes=has_bitsandbytes,
    )


def free_gpu_bytes(device: torch.device) -> int | None:
    """Free memory of a CUDA GPU; None where the driver does not say (a GPU that is lent only for each call)."""
    try:
        return torch.cuda.mem_get_info(device)[0]
    except RuntimeError:
        return None


def free_disk(folder: Path) -> int:
    """Free bytes where `folder` is, or where it would be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def needed_bytes(quant: str, num_frames: int | None = None) -> float:
    """GPU memory that LongVA-7B needs for that many frames, or for its whole context."""
    config = LongVAConfig()
    num_tokens = config.context_length if num_frames is None else num_frames * config.tokens_per_frame
    return WEIGHT_BYTES[quant] + WORK_BYTES + num_tokens * config.kv_bytes_per_token(torch.bfloat16)


def choose_quant(gpu_bytes: int, has_bitsandbytes: bool) -> str | None:
    """bf16 where the whole context fits beside it, else 4-bit, else whichever holds a few frames; None: neither.

    >>> [choose_quant(int(gigabytes * 1e9), True) for gigabytes in (80, 25, 12, 8)]
    ['none', '4bit', '4bit', None]
    """
    if gpu_bytes >= needed_bytes("none"):
        return "none"
    if has_bitsandbytes and gpu_bytes >= needed_bytes("4bit", FEW_FRAMES):
        return "4bit"
    return "none" if gpu_bytes >= needed_bytes("none", FEW_FRAMES) else None


def choose(facts: Facts, quant: str = "auto") -> Choice:
    """LongVA-7B where it can run and be had, else the small built-in model. Never an error.

    Args:
        quant: "auto", or what the user asked for.
    """

    def small(because: str) -> Choice:
        how = f"choose another with --model, for example --model {LONGVA_7B}"
        return Choice(TINY, "none", f"The small built-in model was chosen because {because}; {how}.")

    if facts.gpu_name is None:
        return small("no CUDA GPU is in use")
    if quant == "auto":
        fitting = choose_quant(facts.gpu_bytes, facts.has_bitsandbytes)
    else:
        possible = quant != "4bit" or facts.has_bitsandbytes
        fitting = quant if possible and facts.gpu_bytes >= needed_bytes(quant, FEW_FRAMES) else None
    gpu = f"{facts.gpu_name} with {facts.gpu_bytes / GB:.0f} GB free"
    if fitting is None:
        least = needed_bytes("none" if quant == "none" else "4bit", FEW_FRAMES) / GB
        with_what = "" if facts.has_bitsandbytes else " and bitsandbytes is not installed"
        return small(f"LongVA-7B needs {least:.0f} GB of GPU memory and there is {gpu}{with_what}")
    if not facts.is_cached:
        if not facts.is_reachable:
            return small("LongVA-7B is not in the cache and the Hugging Face Hub cannot be reached")
        if facts.disk_bytes < DOWNLOAD_BYTES:
            return small(
                f"LongVA-7B needs {DOWNLOAD_BYTES / GB:.0f} GB of disk and {facts.disk_bytes / GB:.1f} GB are free"
            )
    kind = "in 4 bits" if fitting == "4bit" else "in full (bf16)"
    have = "its weights are in the cache" if facts.is_cached else "its weights can be downloaded"
    reason = f"{LONGVA_7B} {kind} was chosen because there is {gpu} and {have}; choose another with --model or --quant."
    return Choice(LONGVA_7B, fitting, reason)
