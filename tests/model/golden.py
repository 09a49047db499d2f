"""Loads the golden values of the original code: the part in tests/data, and the full shared set if it is available."""

import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from longva_demo.model import LongVAForConditionalGeneration, LongVAProcessor

ROOT = Path(__file__).parents[2]
COPY = ROOT / "tests" / "data" / "reference"
SHARED = ROOT.parent / "shared" / "reference"
SETS = [COPY, SHARED] if SHARED.is_dir() else [COPY]
CHECKPOINTS = [file.parent / "checkpoint" for root in SETS for file in sorted(root.glob("*/cases.json"))]


def table(name: str) -> list:
    """The rows of a table in tests/data."""
    return json.loads((COPY / name).read_text(encoding="utf-8"))["rows"]


@cache
def load_model(checkpoint: Path) -> LongVAForConditionalGeneration:
    return LongVAForConditionalGeneration.from_pretrained(checkpoint)


@cache
def load_processor(checkpoint: Path) -> LongVAProcessor:
    return LongVAProcessor.from_pretrained(checkpoint)


@dataclass(frozen=True)
class Case:
    """One golden case: its record, its tensors, and its inputs as a user would pass them."""

    checkpoint: Path
    record: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        kind = "copy" if self.checkpoint.is_relative_to(COPY) else "shared"
        return f"{kind}-{self.checkpoint.parent.name}-{self.record['name']}"

    @property
    def is_truncated(self) -> bool:
        """Whether the original truncated this prompt."""
        return self.full_length > self.record["sequence_length"]

    @property
    def full_length(self) -> int:
        """Number of tokens of the prompt before any truncation by the original."""
        return self.record.get("untruncated_length", self.record["sequence_length"])

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.checkpoint.parent / self.record["file"])

    @cached_property
    def visuals(self) -> dict[str, Any]:
        """The `images=` or `videos=` argument of the processor."""
        names = self.record["input"] or []
        files = [self.checkpoint.parents[1] / name for name in ([names] if isinstance(names, str) else names)]
        if self.record["modalities"] == ["video"]:
            frames = load_file(files[0])["frames"].numpy()
            return {"videos": [frames[self.record.get("frames_used", slice(None))]]}
        return {"images": [Image.open(file) for file in files]} if files else {}

    @cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        processor = load_processor(self.checkpoint)
        if "preprocessing" in self.record:
            return self.single_slot(processor)
        return dict(processor(text=self.record["prompt"], **self.visuals))

    def single_slot(self, processor: LongVAProcessor) -> dict[str, torch.Tensor]:
        """An image that was not split into grids. Used only for parity with the original."""
        image = np.asarray(self.visuals["images"][0].convert("RGB"))
        pixels = processor.normalise(processor.preprocess_frames(image[None]))
        ids = processor.encode_prompt(self.record["prompt"], [processor.num_visual_tokens(0, 1)])
        tensors = {"pixel_values": pixels, "visual_slots": torch.tensor([[0, 1]])}
        return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()} | tensors


def cases() -> list[Case]:
    """All cases of all sets."""
    records = [
        Case(checkpoint, record)
        for checkpoint in CHECKPOINTS
        for record in json.loads((checkpoint.parent / "cases.json").read_text(encoding="utf-8"))["cases"].values()
    ]
    assert len(records) >= 14, "golden cases are missing"
    return records
