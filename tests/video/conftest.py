"""Clips for these tests, created once per session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from longva_demo.video._worker.forks import start_fork_server
from tests.video.clips import write_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for clips."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def plain_clip(clips: Path) -> Path:
    """4 s of H.264 at 30 frames per second, with one key frame per second."""
    return write_clip(clips / "plain.mp4", 120, options={"g": "30"})


@pytest.fixture
def open_files() -> Iterator[None]:
    """Fail a test that leaves file descriptors open."""
    start_fork_server()  # whose connection stays open
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir())) if folder.is_dir() else 0
    yield
    after = len(list(folder.iterdir())) if folder.is_dir() else 0
    assert after <= before, f"{after - before} file descriptors were left open"
