"""One page: its selection, recent views and chats, and what a failure leaves."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from longva_demo.chat import AdmissionQueue, LocalEngine, Progress, Sampling, Stage, VideoSource
from longva_demo.errors import DemoError
from longva_demo.page import selection as views
from longva_demo.page.i18n import message
from longva_demo.page.needle_test import NeedleTests
from longva_demo.page.save import Save
from longva_demo.page.selection import WHOLE, Selection
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.page.transcript import WAITING, TurnEntry
from longva_demo.quotas import Quotas
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics
from tests.page.conftest import SETTINGS, fields


@pytest.fixture
def page(engine: LocalEngine) -> Page:
    return Pages(engine).get("one")


def test_the_browser_can_store_a_chat_while_it_is_saved_or_checked(engine: LocalEngine) -> None:
    """Both hold the lock for a while without storing the chat afterwards. Only an answer stores it."""
    pages, request = Pages(engine), SimpleNamespace(session_hash="one")
    page, save = pages.get("one"), Save(pages)
    list(page.session.ask("What is there?", Sampling(max_new_tokens=4)))
    page.transcript.append(TurnEntry("What is there?"))
    with page.exclusive():
        assert save.remember(request)["record"]  # type: ignore[arg-type]
        page.transcript.append(TurnEntry("And where?", draft=WAITING))
        assert "record" not in save.remember(request)  # type: ignore[arg-type]


def test_a_failed_range_changes_nothing(page: Page, engine: LocalEngine, clip: Path) -> None:
    page.select(fields(clip), engine, SETTINGS)
    source, sheets = page.source, page.sheets
    with pytest.raises(DemoError):
        page.select(fields(clip, start="50"), engine, SETTINGS)
    assert page.source is source
    assert page.sheets is sheets


def test_a_failed_new_file_changes_nothing(page: Page, engine: LocalEngine, clip: Path, tmp_path: Path) -> None:
    page.select(fields(clip), engine, SETTINGS)
    source = page.source
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for _ in range(2):
        with pytest.raises(DemoError, match=r"empty\.mp4"):
            page.select(fields(empty), engine, SETTINGS)
        assert page.source is source
        assert page.problem == "empty.mp4 is empty (0 bytes); upload it again; the transfer may have failed"
    page.select(fields(clip), engine, SETTINGS)
    assert page.problem is None


def test_selecting_the_same_frames_again_keeps_the_conversation(page: Page, engine: LocalEngine, clip: Path) -> None:
    sheets = page.select(fields(clip), engine, SETTINGS)
    assert sheets is not None
    assert sheets.claim()
    list(page.session.ask("What is there?", Sampling(max_new_tokens=4)))
    assert page.select(fields(clip), engine, SETTINGS) is sheets
    assert not sheets.claim()
    assert len(page.session.turns) == 1
    page.select(fields(clip, num_frames=5), engine, SETTINGS)
    assert page.session.turns == []


def read(page: Page, selection: Selection | None, engine: LocalEngine) -> VideoSource:
    """Select and decode all frames, as the page does."""
    sheets = page.select(selection, engine, SETTINGS)
    assert sheets is not None
    assert isinstance(page.source, VideoSource)
    if sheets.claim():
        for batch in page.source.frames():
            sheets.add(batch)
        sheets.finish()
    return page.source


def ask(page: Page, question: str) -> None:
    page.transcript.append(TurnEntry(question, draft=WAITING))
    list(page.session.ask(question, Sampling(max_new_tokens=4)))
    page.finish_turn(page.session.turns[-1], None)


def test_going_back_reuses_the_decoded_frames(page: Page, engine: LocalEngine, clip: Path) -> None:
    whole = read(page, fields(clip), engine)
    sheets = page.sheets
    part = read(page, fields(clip, start="2", end="8"), engine)
    read(page, fields(clip, start="4", end="5"), engine)
    assert page.view is not None
    assert page.view.trail == (WHOLE, (2.0, 8.0), (4.0, 5.0))
    assert read(page, fields(clip, start="2", end="8"), engine) is part
    assert page.view.trail == (WHOLE, (2.0, 8.0))
    assert read(page, fields(clip), engine) is whole
    assert page.sheets is sheets
    assert page.view.trail == (WHOLE,)


def test_unfinished_and_old_views_are_closed(page: Page, engine: LocalEngine, clip: Path) -> None:
    page.select(fields(clip), engine, SETTINGS)
    unfinished = page.source
    assert isinstance(unfinished, VideoSource)
    sources = [read(page, fields(clip, num_frames=count), engine) for count in range(5, 5 + views.MAX_VIEWS + 2)]
    assert not unfinished.folder.exists()
    assert [source.folder.exists() for source in sources] == [False] + [True] * (views.MAX_VIEWS + 1)
    page.close()
    assert not any(source.folder.exists() for source in sources)


def test_recent_views_have_a_limit_in_bytes(
    page: Page, engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(page, fields(clip, num_frames=20), engine)
    assert first.num_bytes > 0
    monkeypatch.setattr(views, "MAX_BYTES", first.num_bytes - 1)
    second = read(page, fields(clip, num_frames=4), engine)
    third = read(page, fields(clip, num_frames=5), engine)
    assert [source.folder.exists() for source in (first, second, third)] == [False, True, True]


def test_a_failed_return_keeps_the_view(
    page: Page, engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(page, fields(clip), engine)
    part = read(page, fields(clip, start="2", end="8"), engine)
    with monkeypatch.context() as patch:
        patch.setattr("longva_demo.chat.budget.free_memory", lambda _device: 0)
        patch.setattr("longva_demo.chat.lease.PrefixLease.evictable_bytes", 0)
        with pytest.raises(DemoError, match="only 0 frames fit here"):
            page.select(fields(clip), engine, SETTINGS)
    assert page.source is part
    assert read(page, fields(clip), engine) is whole


def test_one_answer_at_a_time(page: Page) -> None:
    with page.exclusive(), pytest.raises(DemoError, match="still being written"), page.exclusive():
        pass
    with page.exclusive():
        pass


@pytest.mark.parametrize("num_frames", [0, -3, 2001, None, "many"])
def test_budgets_outside_the_slider_are_refused(clip: Path, num_frames: object) -> None:
    with pytest.raises(DemoError, match="budget"):
        fields(clip, num_frames=num_frames)


@pytest.mark.parametrize(("start", "end"), [("soon", ""), ("", "1:2:3:4"), ("5", "5"), ("0:09", "0:03"), ("-1", "")])
def test_invalid_ranges_are_refused(clip: Path, start: str, end: str) -> None:
    with pytest.raises(DemoError):
        fields(clip, start=start, end=end)


def test_without_a_file_there_is_no_selection() -> None:
    assert fields(None, num_frames="anything") is None


def test_chats_about_earlier_frames_can_still_be_saved(page: Page, engine: LocalEngine, clip: Path) -> None:
    for num_frames, question in ((4, "What is there?"), (5, "What moves?")):
        page.select(fields(clip, num_frames), engine, SETTINGS)
        ask(page, question)
    chat = page.chat_section()
    assert chat is not None
    assert [len(one.thumbnails) for one in (*page.earlier_chats, chat)] == [4, 5]
    assert page.earlier_chats[0].num_bytes > 4000
    with_chats = page.quotas.page_bytes.used
    assert [one.record.turns[0].question for one in (*page.earlier_chats, chat)] == ["What is there?", "What moves?"]
    # Only turns that the session remembers can be checked: neither the first answer nor the note about new frames.
    assert [entry.get("checks") for entry in page.transcript_value()["entries"]] == [None, None, ["blind", "compare"]]
    assert page.turn_at(2) is page.session.turns[0]
    for number in (0, 1, 3, -1):
        with pytest.raises(DemoError, match="no longer selected"):
            page.turn_at(number)
    held = page.earlier_chats[0].num_bytes
    with page.exclusive():
        page.clear()
    assert page.quotas.page_bytes.used == with_chats - held
    assert (page.earlier_chats, page.transcript.entries, page.session.turns) == ([], (), [])


def test_a_chat_continues_if_its_frames_are_selected_again(page: Page, engine: LocalEngine, clip: Path) -> None:
    """As after a file was removed to upload another one, which could not be used."""
    read(page, fields(clip, 4), engine)
    ask(page, "What is there?")
    turns, entries = page.session.turns, page.transcript.entries
    page.select(None, engine, SETTINGS)
    assert (len(page.earlier_chats), page.session.turns) == (1, [])
    read(page, fields(clip, 4), engine)
    assert (page.session.turns, page.transcript.entries, page.earlier_chats) == (turns, entries, [])
    ask(page, "What moves?")
    assert [entry.to_page(False)["question"] for entry in page.transcript.entries] == ["What is there?", "What moves?"]
    # Not after other frames, nor after a question about none.
    page.select(None, engine, SETTINGS)
    read(page, fields(clip, 5), engine)
    read(page, fields(clip, 4), engine)
    assert (len(page.earlier_chats), page.session.turns) == (1, [])
    ask(page, "What shape is it?")
    page.select(None, engine, SETTINGS)
    ask(page, "Hello?")
    read(page, fields(clip, 4), engine)
    assert (len(page.earlier_chats), page.session.turns) == (3, [])
    held, of_chats = page.quotas.page_bytes.used, sum(chat.num_bytes for chat in page.earlier_chats)
    page.clear()
    assert page.quotas.page_bytes.used == held - of_chats


def test_a_failed_needle_test_can_be_started_again(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(engine)
    pages.get("one").select(fields(clip), engine, SETTINGS)

    def fail(*_: object, **__: object) -> Iterator[object]:
        yield Progress(Stage.PREFILL, 1, 2)
        raise DemoError("the memory ran out", "set a smaller budget")

    monkeypatch.setattr("longva_demo.page.needle_test.run", fail)
    queue = AdmissionQueue(engine.prefill_times)
    events = EventLog(SETTINGS, Metrics(lambda: 1, lambda: 0, engine.figures, Quotas(Settings())))
    values = NeedleTests(engine, pages, queue, events).start(1.0, SimpleNamespace(session_hash="one"))  # type: ignore[arg-type]
    seen: list[bool] = []
    with pytest.raises(gr.Error, match="the memory ran out"):
        seen.extend(value["running"] for value in values)
    assert seen[0]
    assert not seen[-1]
    pages.get("one").close()
    assert pages.get("one").needle_test_task.stop_requested.is_set()


def test_an_earlier_chat_continues_about_its_own_frames_only(page: Page, engine: LocalEngine, clip: Path) -> None:
    page.select(fields(clip, 4), engine, SETTINGS)
    list(page.session.ask("What is there?", Sampling(max_new_tokens=4)))
    record = page.record()
    assert record is not None
    with pytest.raises(DemoError, match="this chat has begun already"):
        page.resume(record)
    page.select(fields(clip, 5), engine, SETTINGS)
    with pytest.raises(DemoError, match=r"other frames \(budget 4\)"):
        page.resume(record)
    page.select(None, engine, SETTINGS)
    with pytest.raises(DemoError, match="the chat is about"):
        page.resume(record)
    page.select(fields(clip, 4), engine, SETTINGS)
    page.resume(record)
    assert [turn.answer for turn in page.session.turns] == [turn.answer for turn in record.turns]
    assert page.transcript.turn(-1).stats == (message("stats.resumed"),)
