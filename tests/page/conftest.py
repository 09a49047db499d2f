"""An engine with the built-in model, and selections as the page's fields make them."""

from pathlib import Path

import pytest

from longva_demo.chat import LocalEngine
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.settings import Settings

SETTINGS = Settings()


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), SETTINGS)


def fields(clip: Path | None, num_frames: object = 4, start: str = "", end: str = "") -> Selection | None:
    return Selection.from_fields(str(clip) if clip else None, num_frames, start, end, "pyav", SETTINGS)
