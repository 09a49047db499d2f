"""Shared fixtures: where the reference data lies, and one thread for torch so that results do not depend on cores."""

import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from tests.support.clips import write_clip

torch.set_num_threads(1)
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def reference() -> Path:
    """The original code's results: the full set beside the repository, else the excerpt in tests/data."""
    full = REPOSITORY.parent / "shared" / "reference"
    return full if full.is_dir() else REPOSITORY / "tests" / "data" / "reference"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of a circle that moves, 320 × 180 at 10 frames a second, with an awkward name."""
    return write_clip(tmp_path_factory.mktemp("clips") / "<b>my & clip.mp4", seconds=10)
