"""What a test of LongVA-7B costs, before anything is downloaded: memory, and seconds per cell.

The cost formula is `ModelSize`'s: for T tokens, 13.05e9 · T FLOP in linear layers and 200,704 · T² in causal attention.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from longva_demo.model import LongVAConfig
from longva_demo.model.choice import GB, WEIGHT_BYTES, WORKSPACE_BYTES
from longva_demo.model.estimate import GPU_EFFICIENCY, HEADER_TOKENS, PEAK_FLOP, QUESTION_TOKENS, ModelSize
from longva_demo.niah.grid import Cell, Grid

TFLOP = 1e12


@dataclass(frozen=True)
class SizeCost:
    """One size of the haystack. Bytes are those of the KV cache in bf16; FLOP and seconds are means over the cells."""

    frames: int
    num_tokens: int
    fits_context: bool
    kv_bytes: int
    bf16_bytes: float  # with the weights and one chunk's activations
    quantised_bytes: float  # the same with 4-bit weights
    cell_flop: float
    cell_seconds: dict[str, float]  # by GPU


class Plan:
    """The cost of a grid with `num_needles` needles."""

    def __init__(self, grid: Grid, num_needles: int) -> None:
        self.config = LongVAConfig()
        self.size = ModelSize.of(self.config)
        self.grid = grid
        self.num_needles = num_needles

    @property
    def sizes(self) -> list[SizeCost]:
        return [self._size(frames) for frames in self.grid.frames]

    @property
    def encoding_flop(self) -> float:
        """Of all frames by the vision tower and the projector, once."""
        return max(self.grid.frames) * self.size.frame_flop

    @property
    def total_flop(self) -> float:
        """Of the whole test: encoding, the frames before the deepest needle of each size, and all cells."""
        deepest = max(self.grid.depths)
        shared = sum(self._prefill_flop(0, Cell(frames, deepest, 0).position) for frames in self.grid.frames)
        cells = len(set(self.grid.depths)) * self.num_needles
        return self.encoding_flop + shared + cells * sum(size.cell_flop for size in self.sizes)

    def _size(self, frames: int) -> SizeCost:
        kv_bytes = self._tokens(frames) * self.config.kv_bytes_per_token(torch.bfloat16)
        depths = sorted(set(self.grid.depths))
        flop = sum(self._prefill_flop(Cell(frames, depth, 0).position, frames) for depth in depths) / len(depths)
        return SizeCost(
            frames,
            self._tokens(frames),
            self._tokens(frames) <= self.config.context_length,
            kv_bytes,
            WEIGHT_BYTES["none"] + WORKSPACE_BYTES + kv_bytes,
            WEIGHT_BYTES["4bit"] + WORKSPACE_BYTES + kv_bytes,
            flop,
            {gpu: seconds(flop, peak) for gpu, peak in PEAK_FLOP.items()},
        )

    def _tokens(self, frames: int) -> int:
        return HEADER_TOKENS + frames * self.size.frame_tokens + QUESTION_TOKENS

    def _prefill_flop(self, first: int, last: int) -> float:
        """Of the frames from number `first` to `last`, after those before them, with the question."""
        before, after = (HEADER_TOKENS + frames * self.size.frame_tokens for frames in (first, last))
        after += QUESTION_TOKENS
        linear = 2 * self.size.layer_weights * (after - before)
        return linear + self.size.attention_flop * (after**2 - before**2)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        hours = {gpu: seconds(self.total_flop, peak) / 3600 for gpu, peak in PEAK_FLOP.items()}
        return {
            "model": "LongVA-7B",
            "sizes": [asdict(size) for size in self.sizes],
            "cells": len(self.grid.cells(self.num_needles)),
            "encoding_flop": self.encoding_flop,
            "total_flop": self.total_flop,
            "hours": hours,
            "efficiency": GPU_EFFICIENCY,
        }

    def report(self) -> str:
        """The plan as text: one line per size."""
        gpus = list(PEAK_FLOP)
        head = f"{'frames':>6} {'tokens':>8} {'KV cache':>9} {'in bf16':>9} {'in 4-bit':>9} {'TFLOP/cell':>10}"
        lines = ["LongVA-7B; memory in GB, seconds per cell", head + "".join(f"{gpu:>10}" for gpu in gpus)]
        for size in self.sizes:
            memory = (size.kv_bytes, size.bf16_bytes, size.quantised_bytes)
            lines.append(
                f"{size.frames:>6,} {size.num_tokens:>8,} "
                + " ".join(f"{num_bytes / GB:>9.1f}" for num_bytes in memory)
                + f" {size.cell_flop / TFLOP:>10,.0f}"
                + "".join(f"{value:>10.1f}" for value in size.cell_seconds.values())
                + ("" if size.fits_context else "  beyond the context")
            )
        return "\n".join([*lines, "", *self._total()])

    def _total(self) -> Sequence[str]:
        facts = self.facts()
        hours = ", ".join(f"{value:.1f} h on an {gpu}" for gpu, value in facts["hours"].items())
        return (
            f"{facts['cells']:,} cells, {self.total_flop / TFLOP:,.0f} TFLOP in all: {hours}",
            f"of these, {self.encoding_flop / TFLOP:,.0f} TFLOP encode the frames, once",
            f"seconds at {GPU_EFFICIENCY:.0%} of the data sheet's dense bf16 speed, without answers and attribution",
        )


def seconds(flop: float, peak: float) -> float:
    return flop / (GPU_EFFICIENCY * peak)
