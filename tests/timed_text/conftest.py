"""A clip for these tests."""

from pathlib import Path

import pytest

from tests.video.clips import write_clip


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s at 5 frames per second, with frame numbers burnt in and B-frames."""
    return write_clip(tmp_path_factory.mktemp("numbered") / "numbered.mp4", 60, fps=5)
