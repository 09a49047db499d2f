"""Fixtures that several folders share. torch gets one thread, so that results do not depend on the cores."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from tests.support.clips import write_clip
from tests.support.server import serving

torch.set_num_threads(1)
pytest.register_assert_rewrite("tests.model.hub_check")  # so that a failed check shows its values
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


@pytest.fixture(scope="session")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "server.log"


@pytest.fixture(scope="session")
def address(server_log: Path) -> Iterator[str]:
    """The URL of a server with the bundled model, shared by all tests of a process."""
    with serving(server_log, "--model", "tiny") as address:
        yield address
