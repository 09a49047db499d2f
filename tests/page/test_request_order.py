"""Requests that reach the server late or out of order, without a browser."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from longva_demo.chat import AdmissionQueue, LocalEngine, Sampling
from longva_demo.chat.answering import answer_in_process
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page.components.preview import Preview, preview_steps
from longva_demo.page.handlers import MAX_ENTRIES, Handlers
from longva_demo.page.needle_test import NeedleTests
from longva_demo.page.save import Save
from longva_demo.page.sessions import Pages
from longva_demo.page.transcript import TurnEntry
from longva_demo.quotas import Quotas
from longva_demo.server.validation import check_inputs
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics
from longva_demo.video import DecodeLimits
from tests.support.clips import write_clip

SETTINGS = Settings()
REQUEST: Any = SimpleNamespace(session_hash="one")


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), SETTINGS)


@pytest.fixture
def pages(engine: LocalEngine) -> Iterator[Pages]:
    pages = Pages(engine)
    yield pages
    pages.disconnect("one", is_closed=True)


@pytest.fixture
def handlers(engine: LocalEngine, pages: Pages) -> Handlers:
    return Handlers(engine, SETTINGS, pages, answer_in_process, make_log(engine))


def make_log(engine: LocalEngine) -> EventLog:
    return EventLog(SETTINGS, Metrics(lambda: 1, lambda: 0, engine.figures, Quotas(Settings())))


def select(handlers: Handlers, path: Path, asked_at: float, num_frames: int = 4) -> list[tuple[Any, ...]]:
    return list(handlers.select(str(path), None, num_frames, "", "", "pyav", False, asked_at, REQUEST))


def ask(handlers: Handlers, question: str, asked_at: float, path: Path | None = None) -> Iterator[Any]:
    video = str(path) if path else None
    return handlers.ask(question, video, None, 4, "", "", "pyav", False, 0.0, 1.0, 8, asked_at, REQUEST)


def test_each_answer_says_which_selection_it_is_about(handlers: Handlers, clip: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other.mp4", 2)
    frames, about, cost, _ = select(handlers, clip, 10.0)[-1]
    assert {part["asked_at"] for part in (frames, about, cost)} == {10.0}
    last = select(handlers, other, 5.0)[-1]  # arrives after a newer one
    assert last[0] == frames
    assert last[1]["name"] == clip.name
    assert handlers.meter(REQUEST)["asked_at"] == 10.0
    same = select(handlers, clip, 20.0)[-1][0]  # the page waits for this answer too
    assert same == frames | {"asked_at": 20.0}
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    seen = []
    with pytest.raises(Exception, match="text file"):
        seen.extend(handlers.select(str(bad), None, 4, "", "", "pyav", False, 30.0, REQUEST))
    steps = handlers.select(str(bad), None, 4, "", "", "pyav", False, 31.0, REQUEST)
    frames_after, about_after, *_ = next(steps)
    assert frames_after == frames | {"asked_at": 31.0}  # what was selected stays
    assert about_after["problem"].startswith("bad.mp4 is a text file")
    steps.close()  # type: ignore[attr-defined]


def test_late_stop_undo_and_clear_do_not_affect_a_newer_question(handlers: Handlers, pages: Pages) -> None:
    steps = ask(handlers, "What is a star?", 10.0)
    next(steps)
    handlers.stop(5.0, REQUEST)
    assert not pages.get("one").stop_requested.is_set()
    *_, (shown, _) = steps
    assert shown["entries"][-1]["answer"]
    for act in (handlers.undo, handlers.clear):
        assert len(act(5.0, REQUEST)["entries"]) == 1
    with pytest.raises(Exception, match="the chat has changed"):
        list(handlers.retry(0.0, 1.0, 8, 5.0, REQUEST))
    steps = handlers.edit(0.0, 1.0, 8, 5.0, SimpleNamespace(question="And now?"), REQUEST)  # type: ignore[arg-type]
    assert next(steps)[0]["returned"]["question"] == "And now?"
    steps = ask(handlers, "What is a circle?", 20.0)
    next(steps)
    handlers.stop(21.0, REQUEST)
    assert pages.get("one").stop_requested.is_set()
    list(steps)
    assert handlers.undo(22.0, REQUEST)["returned"]["question"]
    assert handlers.clear(23.0, REQUEST)["entries"] == []


def test_a_long_conversation_must_be_cleared(handlers: Handlers, pages: Pages) -> None:
    transcript = pages.get("one").transcript
    transcript.entries = (TurnEntry("What is there?", "A star."),) * MAX_ENTRIES
    steps = ask(handlers, "And now?", 10.0)
    assert next(steps)[0]["returned"]["question"] == "And now?"
    with pytest.raises(Exception, match="the conversation has 500 entries; save it, clear it, and ask again"):
        next(steps)
    assert len(transcript.entries) == MAX_ENTRIES
    handlers.clear(11.0, REQUEST)
    assert list(ask(handlers, "And now?", 12.0))[-1][0]["entries"][-1]["answer"]


def test_a_question_may_overtake_its_selection(handlers: Handlers, clip: Path) -> None:
    *_, (shown, _) = ask(handlers, "What do you see?", 11.0, clip)
    assert shown["entries"][-1]["answer"]
    frames, about, _, shown = select(handlers, clip, 10.0)[-1]
    assert (frames["total"], frames["asked_at"], about["name"]) == (4, 11.0, clip.name)
    assert len(shown["entries"]) == 1


def test_a_question_that_another_has_overtaken_returns_to_its_field(
    handlers: Handlers, pages: Pages, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is asked while the file of the first is being opened."""
    page = pages.get("one")
    original, others = page.select, []

    def select_late(*args: Any) -> Any:
        sheets = original(*args)
        if not others:
            others.append(ask(handlers, "What is a star?", 12.0, clip))
            next(others[0])
        return sheets

    monkeypatch.setattr(page, "select", select_late)
    steps = ask(handlers, "What do you see?", 11.0, clip)
    assert next(steps)[0]["returned"]["question"] == "What do you see?"
    with pytest.raises(Exception, match="still being written"):
        next(steps)
    *_, (shown, _) = others[0]
    assert [entry["question"] for entry in shown["entries"]] == ["What is a star?"]


def test_no_answer_is_replaced_while_another_is_written(handlers: Handlers) -> None:
    list(ask(handlers, "What is a star?", 10.0))
    steps = ask(handlers, "What is a circle?", 11.0)
    next(steps)
    with pytest.raises(Exception, match="still being written"):
        list(handlers.retry(0.0, 1.0, 8, 12.0, REQUEST))
    *_, (shown, _) = steps
    assert [entry["question"] for entry in shown["entries"]] == ["What is a star?", "What is a circle?"]


def test_the_browser_stores_a_chat_once_while_the_selection_changes(
    handlers: Handlers, pages: Pages, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser asks for the chat while the page switches to another selection."""
    select(handlers, clip, 10.0)
    page, save = pages.get("one"), Save(pages)
    list(page.session.ask("What is there?", Sampling(max_new_tokens=4)))
    original, results = page.session.set_source, []

    def set_source(source: Any) -> None:
        original(source)
        thread = threading.Thread(target=lambda: results.append(save.remember(REQUEST)))
        thread.start()
        thread.join(0.2)
        results.append(thread)

    monkeypatch.setattr(page.session, "set_source", set_source)
    select(handlers, clip, 11.0, num_frames=5)
    results[0].join()
    assert (results[1]["number"], results[1]["record"]) == (1, None)


def test_the_preview_of_a_picture_that_is_no_longer_selected_is_dropped(
    handlers: Handlers, pages: Pages, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, path = pages.get("one"), tmp_path / "a.png"
    Image.new("RGB", (60, 40), "red").save(path)
    original = Preview.make_picture

    def make_late(preview: Preview, limits: DecodeLimits) -> None:
        select(handlers, clip, 20.0)
        original(preview, limits)

    monkeypatch.setattr(Preview, "make_picture", make_late)
    assert list(preview_steps(page, path, DecodeLimits())) == []


def test_an_invalid_time_is_refused() -> None:
    with pytest.raises(DemoError, match="is nothing; give a number"):
        check_inputs([gr.Number(0, label="asked_at")], [None], None)


def test_late_starts_and_stops_of_the_needle_test(
    engine: LocalEngine, handlers: Handlers, pages: Pages, clip: Path
) -> None:
    tests = NeedleTests(engine, pages, AdmissionQueue(engine.prefill_times), make_log(engine))
    select(handlers, clip, 10.0)
    assert list(tests.start(5.0, REQUEST)) == []  # meant for the previous video
    steps = tests.start(20.0, REQUEST)
    assert next(steps)["asked_at"] == 20.0
    tests.stop(15.0, REQUEST)
    assert next(steps)["running"]
    assert list(tests.start(18.0, REQUEST)) == []
    assert next(steps)["running"]
    tests.stop(21.0, REQUEST)
    *_, last = steps
    assert (last["running"], last["asked_at"]) == (False, 20.0)


def test_a_late_preview_of_an_old_file_does_not_affect_the_new_one(
    handlers: Handlers, pages: Pages, clip: Path, tmp_path: Path
) -> None:
    old = write_clip(tmp_path / "old.mp4", 2)
    select(handlers, clip, 10.0)
    page, event = pages.get("one"), SimpleNamespace(ask=1)
    preview, _ = page.start_video_preview(clip, DecodeLimits.from_settings(SETTINGS))
    assert list(handlers.preview(str(old), None, 5.0, event, REQUEST)) == []  # type: ignore[arg-type]
    assert page.preview is preview
    assert list(handlers.preview(str(clip), None, 5.0, event, REQUEST))  # type: ignore[arg-type]
