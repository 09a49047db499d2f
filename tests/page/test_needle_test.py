"""The page's needle test as a handler: its queue, its frames and its progress."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longva_demo.chat import AdmissionQueue, LocalEngine, VideoSource
from longva_demo.model import load
from longva_demo.niah import Result, drawn_needles
from longva_demo.page.needle_test import LiveTest, NeedleTests
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import Pages
from longva_demo.quotas import Quotas
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics
from longva_demo.video import FrameBatch

SETTINGS = Settings()


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), SETTINGS)


def begin(engine: LocalEngine, pages: Pages, queue: AdmissionQueue, clip: Path) -> Iterator[dict[str, Any]]:
    """The values of a test on the first eight frames of a clip."""
    look = Selection.from_fields(str(clip), 8, "", "", "pyav", SETTINGS)
    pages.get("one").select(look, engine, SETTINGS)
    request: Any = SimpleNamespace(session_hash="one")
    events = EventLog(SETTINGS, Metrics(lambda: 1, lambda: 0, engine.figures, Quotas(Settings())))
    return NeedleTests(engine, pages, queue, events).start(1.0, request)


def num_asked(value: dict[str, Any]) -> int:
    return sum(score[1] for row in value["scores"] for score in row if score)


@pytest.mark.slow
def test_it_queues_again_after_each_step(engine: LocalEngine, clip: Path) -> None:
    pages, queue = Pages(engine), AdmissionQueue(engine.prefill_times, max_admitted=lambda: 1)
    values = begin(engine, pages, queue, clip)
    with queue.enqueue(8):
        assert next(values)["state"] == {"key": "progress.queued", "done": 1}
        assert len(queue) == 1
    turns = 0
    while (value := next(values))["running"]:
        with queue.enqueue(8) as ticket:
            asked, encoding = num_asked(value), value["state"]["key"] == "needle.encoding"
            while not ticket.admitted.is_set():
                value = next(values)
            # Others wait one step at most, and the test waits meanwhile.
            assert num_asked(value) <= asked + (not encoding)
            asked = num_asked(value)
            assert next(values)["state"]["key"] == "progress.queued"
            assert num_asked(value) == asked
        turns += 1
        if asked == 10:
            pages.get("one").needle_test_task.stop()
    assert turns > 10
    assert value["state"]["key"] == "needle.stopped"
    assert len(queue) == 0
    assert list(values) == []
    with queue.enqueue(8) as ticket:
        assert ticket.admitted.is_set()
    pages.disconnect("one", is_closed=True)
    assert len(engine.prefix_cache) == 0


@pytest.mark.slow
def test_frames_that_cannot_be_decoded_are_skipped(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test finds them while it encodes."""
    decode = VideoSource.decode

    def damaged(source: VideoSource) -> Iterator[FrameBatch]:
        for batch in decode(source):
            yield replace(batch, **{name: getattr(batch, name)[1:] for name in ("pixels", "indices", "seconds")})

    monkeypatch.setattr(VideoSource, "decode", damaged)
    pages = Pages(engine)
    values = begin(engine, pages, AdmissionQueue(engine.prefill_times), clip)
    assert next(values)["sizes"] == (2, 4, 8)
    *_, last = values
    assert last["sizes"] == (1, 3, 7)
    assert last["state"]["key"] == "needle.done"
    assert num_asked(last) == 3 * 5 * 3
    pages.disconnect("one", is_closed=True)


def test_the_panel_shows_the_remaining_time() -> None:
    test = LiveTest(1.0, 8, drawn_needles(1))
    first, *others = test.cells
    test.update(Result(first, "", True, True, True, seconds=first.work * 0.5))
    left = sum(cell.work for cell in others) * 0.5
    assert test.value["state"] == {"key": "needle.asking_time", "done": 1, "total": 15, "duration": pytest.approx(left)}


def test_stopping_leaves_the_queue(engine: LocalEngine, clip: Path) -> None:
    pages, queue = Pages(engine), AdmissionQueue(engine.prefill_times, max_admitted=lambda: 1)
    values = begin(engine, pages, queue, clip)
    with queue.enqueue(8):
        next(values)
        pages.get("one").needle_test_task.stop()
        assert [value["running"] for value in values] == [False]
        assert len(queue) == 0
    pages.disconnect("one", is_closed=True)
