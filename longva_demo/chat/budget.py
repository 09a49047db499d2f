"""What a number of frames costs, and the largest number that fits, before anything is decoded."""

import math
from dataclasses import dataclass
from typing import Self

import psutil
import torch

from longva_demo.errors import BudgetError
from longva_demo.model import LoadedModel
from longva_demo.model.estimate import Estimate

# Tokens reserved for the system text, the question and earlier turns, beside the answer.
TEXT_TOKENS = 512
# Share of the free memory that the KV cache may take. The rest is for one chunk's activations and other programs.
USABLE_SHARE = {"cuda": 0.9, "cpu": 0.6}


@dataclass(frozen=True)
class BudgetMeter:
    """The cost of `num_frames` frames. Bytes are those of the KV cache; `free_bytes` is None if unknown."""

    num_frames: int
    num_tokens: int
    context_length: int
    kv_bytes: int
    largest_budget: int
    free_bytes: int | None

    @property
    def context_share(self) -> float:
        return self.num_tokens / self.context_length

    @property
    def fits(self) -> bool:
        return self.num_frames <= self.largest_budget

    def check(self) -> None:
        """Raises BudgetError, with the largest budget, if the frames do not fit."""
        if self.fits:
            return
        cost = f"{self.num_tokens:,} tokens and {self.kv_bytes / 1e9:.2f} GB of memory"
        limit = f"only {self.largest_budget:,} frames fit here"
        remedy = f"set the budget to {self.largest_budget:,} or less" if self.largest_budget else "free some memory"
        raise BudgetError(f"{self.num_frames:,} frames need {cost}, but {limit}", remedy, self.largest_budget)


class PrefillTimes:
    """How long prefills took on this machine, from the question to the first word of the answer."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[int, float]] = {}

    @classmethod
    def expected(cls, estimate: Estimate | None, max_frames: int) -> Self:
        """Filled with estimates, which measured times replace; empty without an estimate."""
        times = cls()
        if estimate is not None:
            for power in range(max_frames.bit_length()):
                times.add(2**power, estimate.first_word(2**power))
        return times

    def add(self, num_frames: int, seconds: float) -> None:
        """Replace the last prefill of about this size; a size is a power of 2."""
        self._newest[num_frames.bit_length()] = (num_frames, round(seconds, 3))

    @property
    def known(self) -> list[tuple[int, float]]:
        """(number of frames, seconds) of the newest prefill of each size."""
        return sorted(self._newest.values())

    def estimate(self, num_frames: int) -> float | None:
        """Seconds that a prefill takes, scaled from the known one of the nearest size; None without one.

        >>> times = PrefillTimes()
        >>> times.add(100, 2.0)
        >>> times.estimate(50)
        1.0
        """
        if not self._newest:
            return None
        frames, seconds = min(self._newest.values(), key=lambda known: abs(math.log(known[0] / num_frames)))
        return seconds * num_frames / frames


def measure_budget(loaded: LoadedModel, num_frames: int, answer_tokens: int, held_bytes: int = 0) -> BudgetMeter:
    """Tokens and KV bytes of `num_frames` frames, and how many frames fit.

    A frame costs 144 tokens and 8.26 MB in bf16 for LongVA-7B: 28 layers × 2 (keys, values) × 4 heads × 128 × 2 bytes
    = 57,344 bytes per token. `held_bytes` is memory that would be freed first (idle entries of the prefix cache).
    """
    config = loaded.model.config
    token_bytes = config.kv_bytes_per_token(loaded.dtype)
    largest = (config.context_length - TEXT_TOKENS - answer_tokens) // config.tokens_per_frame
    in_memory = frames_in_memory(loaded, held_bytes)
    num_tokens = num_frames * config.tokens_per_frame
    return BudgetMeter(
        num_frames=num_frames,
        num_tokens=num_tokens,
        context_length=config.context_length,
        kv_bytes=num_tokens * token_bytes,
        largest_budget=max(0, largest if in_memory is None else min(largest, in_memory)),
        free_bytes=free_memory(loaded.device),
    )


def frames_in_memory(loaded: LoadedModel, held_bytes: int = 0) -> int | None:
    """The number of frames whose KV cache fits into memory, whatever the context; None if that is unknown."""
    free_bytes, config = free_memory(loaded.device), loaded.model.config
    if free_bytes is None:
        return None
    usable = (free_bytes + held_bytes) * USABLE_SHARE.get(loaded.device.type, 0.6)
    return int(usable) // (config.tokens_per_frame * config.kv_bytes_per_token(loaded.dtype))


def host_free_memory() -> int:
    return psutil.virtual_memory().available


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on `device`; None if that is unknown (another kind of device)."""
    if device.type in ("cpu", "mps"):  # an Apple GPU uses the host's memory
        return host_free_memory()
    if device.type == "cuda" and torch.cuda.is_initialized():
        free, _total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return None
