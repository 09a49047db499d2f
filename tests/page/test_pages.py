"""Sessions, pages and sampled views: who owns what, what a failure leaves, and what is closed."""

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.chat import AdmissionQueue, LocalEngine, Progress, Sampling, Stage, VideoSource
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page import selection as views
from longva_demo.page.components.frame_browser import ROUTE, frames_route
from longva_demo.page.i18n import message
from longva_demo.page.needle_test import NeedleTests
from longva_demo.page.save import Save
from longva_demo.page.selection import WHOLE, Selection
from longva_demo.page.sessions import Pages
from longva_demo.page.state import AWAY_SECONDS, IDLE_SECONDS, Page
from longva_demo.page.transcript import WAITING, TurnEntry
from longva_demo.quotas import CLIENT, Quota, Quotas
from longva_demo.server.app import close_route
from longva_demo.server.stale_tab import SESSION_HEADER, refuse_stale_tabs
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics

SETTINGS = Settings()


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), SETTINGS)


@pytest.fixture
def page(engine: LocalEngine) -> Page:
    return Pages(engine).get("one")


def fields(clip: Path | None, num_frames: object = 4, start: str = "", end: str = "") -> Selection | None:
    return Selection.from_fields(str(clip) if clip else None, num_frames, start, end, "pyav", SETTINGS)


def test_each_session_has_its_own_page(engine: LocalEngine, clip: Path) -> None:
    now = 0.0
    pages = Pages(engine, lambda: now)
    for name in ("one", "two"):
        pages.connect(name)
    one, two = pages.get("one"), pages.get("two")
    one.select(fields(clip), engine, SETTINGS)
    assert pages.get("one") is one
    assert two.source is None
    source = one.source
    assert isinstance(source, VideoSource)
    list(source.frames())
    kept = source.folder
    assert kept.exists()
    pages.disconnect("one")
    now = AWAY_SECONDS + 1
    pages.close_abandoned()
    assert pages.get("two") is two
    assert not kept.exists()
    assert pages.get("one") is not one
    assert len(pages) == 2


def test_a_browser_that_reconnects_soon_gets_its_page(engine: LocalEngine) -> None:
    """A laptop slept, or the network changed: the connection ended, but the tab is still open."""
    now = 0.0
    pages = Pages(engine, lambda: now)
    pages.connect("one")
    page = pages.get("one")
    pages.disconnect("one")
    assert page.stop_requested.is_set()
    now = AWAY_SECONDS - 1
    pages.connect("one")
    now = 2 * AWAY_SECONDS
    pages.close_abandoned()
    assert pages.get("one") is page
    pages.connect("one")  # the new connection can come before the end of the old one is known
    pages.disconnect("one")
    now = 3 * AWAY_SECONDS + 1
    pages.close_abandoned()
    assert len(pages) == 1
    pages.disconnect("one")
    now = 5 * AWAY_SECONDS
    with page.exclusive():  # an answer is still being stopped
        pages.close_abandoned()
        assert len(pages) == 1
    pages.close_abandoned()
    assert len(pages) == 0


def test_a_page_that_no_browser_shows_is_closed_soon(engine: LocalEngine) -> None:
    """A client sends events for it, but holds no connection open."""
    now = 0.0
    pages = Pages(engine, lambda: now)
    page = pages.get("one")
    now = AWAY_SECONDS - 1
    assert pages.get("one") is page
    now = 2 * AWAY_SECONDS - 2
    pages.close_abandoned()
    assert len(pages) == 1
    now = 2 * AWAY_SECONDS
    pages.close_abandoned()
    assert len(pages) == 0


def test_the_number_of_pages_is_limited_for_each_address(engine: LocalEngine) -> None:
    quotas = Quotas(engine.settings)
    quotas.pages = Quota("open pages", 4, 0.5)
    pages = Pages(engine, quotas=quotas)

    def open_page(client: str, name: str) -> Page:
        token = CLIENT.set(client)
        try:
            return pages.get(name)
        finally:
            CLIENT.reset(token)

    first = open_page("10.0.0.1", "a")
    open_page("10.0.0.1", "b")
    with pytest.raises(DemoError, match="your network address has too many open pages; try again in a minute"):
        open_page("10.0.0.1", "c")
    assert open_page("10.0.0.1", "a") is first
    open_page("10.0.0.2", "c")
    pages.disconnect("a", is_closed=True)
    open_page("10.0.0.1", "d")
    assert quotas.pages.used == len(pages) == 3


def test_what_pages_hold_on_the_disk_is_limited(engine: LocalEngine, clip: Path) -> None:
    """By the frames that are planned, before they are decoded."""
    quotas = Quotas(engine.settings)
    pages = Pages(engine, quotas=quotas)
    page = pages.get("one")
    page.select(fields(clip, 4), engine, SETTINGS)
    assert page.source is not None
    list(page.source.frames())  # type: ignore[union-attr]
    assert quotas.disk_bytes.used == page.source.planned_bytes == page.source.num_bytes
    quotas.disk_bytes.maximum = 2 * page.source.planned_bytes - 1
    with pytest.raises(DemoError, match="the server has too many frames and previews on the disk; try again in a"):
        page.select(fields(clip, 5), engine, SETTINGS)
    assert page.selection == fields(clip, 4)
    quotas.disk_bytes.maximum += clip.stat().st_size
    page.start_preview(clip)
    assert quotas.disk_bytes.used == page.source.planned_bytes + clip.stat().st_size
    page.select(None, engine, SETTINGS)
    pages.disconnect("one", is_closed=True)
    del page
    gc.collect()
    assert quotas.disk_bytes.used == 0


def test_what_pages_hold_in_memory_is_limited(engine: LocalEngine, clip: Path) -> None:
    """Recent views are given up first."""
    quotas = Quotas(engine.settings)
    pages = Pages(engine, quotas=quotas)
    page = pages.get("one")
    for budget in (2, 3, 4):
        sheets = page.select(fields(clip, budget), engine, SETTINGS)
        assert sheets is not None
        for batch in page.source.frames():  # type: ignore[union-attr]
            sheets.add(batch)
        sheets.finish()
    held = quotas.page_bytes.used
    assert len(page.recent_views) == 2
    assert page.source is not None
    assert 3 * page.source.memory_bytes < held < 100_000
    quotas.page_bytes.maximum = held
    page.select(fields(clip, 5), engine, SETTINGS)
    assert len(page.recent_views) == 1  # the one that was shown
    quotas.page_bytes.maximum = 1
    with pytest.raises(DemoError, match="the server has too many frames and pictures in open pages"):
        page.select(fields(clip, 6), engine, SETTINGS)
    assert page.selection == fields(clip, 5)
    pages.disconnect("one", is_closed=True)
    del page, sheets, batch
    gc.collect()
    assert quotas.page_bytes.used == 0


def test_the_page_of_a_closed_tab_is_closed_without_delay(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longva_demo.page.sessions.STOP_SECONDS", 0.01)
    pages = Pages(engine)
    page = pages.get("one")
    with page.exclusive():  # an answer is still being stopped
        pages.disconnect("one", is_closed=True)
        pages.disconnect("one")  # its connection ends as well
        assert page.stop_requested.is_set()
        assert len(pages) == 1
    pages.close_abandoned()
    assert len(pages) == 0
    pages.get("two")
    client = TestClient(Starlette(routes=[close_route(pages)]))
    assert client.get("/longva/leave/two").status_code == 405
    assert client.post("/longva/leave/nobody").status_code == 204
    assert len(pages) == 1
    assert client.post("/longva/leave/two").status_code == 204
    assert len(pages) == 0


def test_a_closed_page_is_remembered_unless_it_was_empty(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    pages = Pages(engine, lambda: now)
    for name in ("empty", "one", "two", "three"):
        page = pages.get(name)
        if name != "empty":
            page.transcript.append(TurnEntry("What is there?"))
    assert not pages.was_closed("one")
    monkeypatch.setattr("longva_demo.page.sessions.MAX_CLOSED", 2)
    now = IDLE_SECONDS + 1
    pages.close_abandoned()
    assert len(pages) == 0
    assert [pages.was_closed(name) for name in ("empty", "one", "two", "three")] == [False, False, True, True]


def test_events_of_a_closed_page_are_refused() -> None:
    app = Starlette(
        routes=[Route("/", lambda _: PlainTextResponse("here"))], middleware=[refuse_stale_tabs("gone".__eq__)]
    )
    client = TestClient(app)
    replies = [client.get("/", headers={SESSION_HEADER: name} if name else {}) for name in ("gone", "open", "")]
    assert [reply.status_code for reply in replies] == [410, 200, 200]


def test_a_new_page_of_the_same_tab_keeps_the_stored_chats(engine: LocalEngine) -> None:
    """The browser's storage identifies a page by its token, and a new page has another one."""
    save, request = Save(Pages(engine)), SimpleNamespace(session_hash="one")
    other = Save(Pages(engine)).remember(request)["page"]  # type: ignore[arg-type]
    assert save.remember(request)["page"] == save.remember(request)["page"] != other  # type: ignore[arg-type]


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


def test_frames_are_served_by_their_token_while_they_are_selected(engine: LocalEngine, clip: Path) -> None:
    pages = Pages(engine)
    page = pages.get("one")
    sheets = page.select(fields(clip), engine, SETTINGS)
    assert sheets is not None
    sheets.finish()
    client = TestClient(Starlette(routes=[frames_route(pages.find_sheets)]))
    address = ROUTE.format(token=sheets.token)
    assert client.get(address).status_code == 200
    assert client.get(ROUTE.format(token="0" * 32)).status_code == 404
    page.select(None, engine, SETTINGS)
    assert client.get(address).status_code == 404


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


@pytest.mark.parametrize("name", [None, "", "a" * 65])
def test_a_session_without_a_valid_name_gets_no_page(engine: LocalEngine, name: str | None) -> None:
    pages = Pages(engine)
    with pytest.raises(DemoError, match="the request names no open page"):
        pages.get(name)
    assert len(pages) == 0
