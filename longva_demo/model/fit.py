"""Which quantisation a checkpoint gets, and whether it fits into memory; known before its weights are downloaded."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import torch

from longva_demo.errors import ModelError
from longva_demo.model.choice import CPU_FRAMES, CPU_WORKSPACE_BYTES, WEIGHT_BYTES, choose_quant, free_gpu_bytes
from longva_demo.model.config import LongVAConfig
from longva_demo.model.hub import read_json, weight_bytes
from longva_demo.model.int8 import METHOD

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Size of quantised weights relative to 16-bit ones, in LongVA-7B of 15.9 GB. The 8-bit model has its vision tower and
# projector in float32, and its embedding in the checkpoint's dtype.
QUANTISED_SHARE = {quant: WEIGHT_BYTES[quant] / WEIGHT_BYTES["none"] for quant in ("4bit", "8bit")}


@dataclass(frozen=True)
class Checkpoint:
    """A model's config.json and the size of its weight files."""

    values: dict[str, Any]
    num_bytes: int

    @classmethod
    def of(cls, folder: Path) -> Self:
        return cls(read_json(folder / "config.json"), weight_bytes(folder))

    @property
    def dtype(self) -> torch.dtype:
        """That of its weights, or of those that are not quantised."""
        return DTYPES.get(str(self.values.get("torch_dtype", self.values.get("dtype"))), torch.bfloat16)

    @property
    def stored_quant(self) -> str | None:
        """The quantisation in which the weights are stored, if any."""
        stored = self.values.get("quantization_config")
        if stored is None:
            return None
        is_8bit = isinstance(stored, dict) and (
            stored.get("quant_method") == METHOD or stored.get("load_in_8bit") or stored.get("bits") == 8
        )
        return "8bit" if is_8bit else "4bit"

    def is_int8(self, quant: str) -> bool:
        """Whether loading it in `quant` uses int8.py, and not bitsandbytes."""
        stored = self.values.get("quantization_config")
        return quant == "8bit" and (stored is None or stored.get("quant_method") == METHOD)

    @property
    def is_large(self) -> bool:
        """Whether it is at least half the size of LongVA-7B."""
        return self.loaded_bytes("none", torch.float16) >= WEIGHT_BYTES["none"] / 2

    def loaded_bytes(self, quant: str, dtype: torch.dtype) -> float:
        """Size of its weights in memory."""
        if self.stored_quant is not None:
            return self.num_bytes
        full, half = (self.num_bytes * one.itemsize / self.dtype.itemsize for one in (dtype, torch.float16))
        return full if quant == "none" else min(full, half * QUANTISED_SHARE[quant])

    def needed_bytes(self, quant: str, dtype: torch.dtype) -> float:
        """Memory for its weights and the KV cache of CPU_FRAMES frames."""
        workspace = CPU_WORKSPACE_BYTES if self.is_int8(quant) and self.is_large else 0
        return self.loaded_bytes(quant, dtype) + self.cache_bytes(CPU_FRAMES, dtype) + workspace

    def cache_bytes(self, num_frames: int, dtype: torch.dtype) -> int:
        """KV cache of `num_frames` frames; 0 if config.json does not tell, as for an unknown vision tower."""
        try:
            config = LongVAConfig.from_dict(self.values)
            return num_frames * config.tokens_per_frame * config.kv_bytes_per_token(dtype)
        except Exception:  # reported when the model is loaded
            return 0


def find_quant(checkpoint: Checkpoint, quant: str, device: torch.device) -> str:
    """The quantisation to load a checkpoint in: its own, else the requested one, "auto" resolved."""
    if checkpoint.stored_quant is not None:
        quant = checkpoint.stored_quant
    elif quant == "auto":
        quant = auto_quant(device) if checkpoint.is_large else "none"
    if checkpoint.is_int8(quant) and device.type != "cpu":
        raise ModelError("8-bit weights run on the processor only", "use --device cpu, or --quant 4bit on a GPU")
    return quant


def auto_quant(device: torch.device) -> str:
    """The quantisation of a model of the 7B's size: 8-bit on the CPU, 4-bit on a GPU that cannot hold it in 16 bits."""
    if device.type == "cpu":
        return "8bit"
    if device.type != "cuda":
        return "none"
    has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
    return choose_quant(free_gpu_bytes(device) or 0, has_bitsandbytes) or "none"


def check_memory(model_id: str, checkpoint: Checkpoint, quant: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ModelError if the weights and the KV cache of a few frames do not fit into free memory."""
    needed = checkpoint.needed_bytes(quant, dtype)
    what = "GPU memory" if device.type == "cuda" else "memory"
    free = free_gpu_bytes(device) if device.type == "cuda" else psutil.virtual_memory().available
    if free is None or needed <= free:
        return
    smaller = {"cuda": "4bit", "cpu": "8bit"}.get(device.type)
    helps = smaller is not None and quant == "none" and checkpoint.stored_quant is None
    raise ModelError(
        f"{model_id} needs {needed / 1e9:.1f} GB of {what}, but only {free / 1e9:.1f} GB are free",
        f"close other programs, or use {f'--quant {smaller}, ' if helps else ''}another --device or --model tiny",
    )
