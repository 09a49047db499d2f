"""The checks of an answer, without a browser."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longva_demo.chat import LocalEngine
from longva_demo.chat.answering import answer_in_process
from longva_demo.model import load
from longva_demo.page.checks import Checks
from longva_demo.page.handlers import Handlers
from longva_demo.page.sessions import Pages
from longva_demo.quotas import Quotas
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics

REQUEST: Any = SimpleNamespace(session_hash="one")
NUM_FRAMES, COMPARED = 5, 5 + 8  # of a range with 10 frames


@pytest.mark.parametrize("has_space", [True, False])
def test_the_frames_of_a_comparison_count_against_the_quota(clip: Path, has_space: bool) -> None:
    engine = LocalEngine(load("tiny", device="cpu"), Settings(max_new_tokens=4))
    frame = 3 * engine.processor.image_processor.side**2
    largest = (NUM_FRAMES + COMPARED - (not has_space)) * frame
    quotas = Quotas(Settings(max_storage_bytes=2 * largest, address_share=1.0))
    events = EventLog(engine.settings, Metrics(lambda: 1, lambda: 0, engine.figures, quotas))
    pages = Pages(engine, quotas=quotas)
    handlers, checks = (
        Handlers(engine, engine.settings, pages, answer_in_process, events),
        Checks(engine, pages, answer_in_process),
    )
    fields = (str(clip), None, NUM_FRAMES, "0:01", "0:02", "pyav", False, 0.0, 1.0, 4)
    list(handlers.ask("What is there?", *fields, 1.0, REQUEST))
    assert quotas.disk_bytes.used == NUM_FRAMES * frame
    compared = checks.compare(2.0, SimpleNamespace(number=0), REQUEST)
    if has_space:
        used = [quotas.disk_bytes.used for _ in compared]
        assert max(used) == largest
    else:
        with pytest.raises(Exception, match="too many frames and previews on the disk"):
            list(compared)
    assert quotas.disk_bytes.used == NUM_FRAMES * frame
    assert (pages.get("one").transcript.turn(0).comparison is not None) == has_space
    pages.get("one").close()
