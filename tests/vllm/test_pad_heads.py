"""A checkpoint with padded heads computes the same."""

from pathlib import Path

import pytest
import torch

from tests.model.golden import CHECKPOINTS, cases, load_model
from tests.vllm.pad_heads import pad_checkpoint


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=str)
@torch.no_grad()
def test_the_logits_are_the_same(checkpoint: Path, tmp_path: Path) -> None:
    padded = load_model(pad_checkpoint(checkpoint, tmp_path / "checkpoint"))
    case = next(case for case in cases() if case.checkpoint == checkpoint and case.record["kind"] == "video")
    logits, expected = (model(**case.inputs).logits for model in (padded, load_model(checkpoint)))
    assert torch.allclose(logits, expected, atol=1e-4)
