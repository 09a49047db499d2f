"""What belongs to a page stays its own, and a failed look neither loses what was there nor answers blind."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from bench.load import figures_of
from longva_demo.chat import AdmissionQueue, Engine, Progress, Sampling, Stage, VideoSource
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page import selection as views
from longva_demo.page.components.frame_browser import ROUTE, frames_route
from longva_demo.page.needle_test import NeedleTests
from longva_demo.page.save import Save
from longva_demo.page.selection import WHOLE, Selection
from longva_demo.page.sessions import AWAY_SECONDS, IDLE_SECONDS, Page, Pages, leave_route
from longva_demo.server import build_app
from longva_demo.server.stale_tab import SESSION_HEADER, refuse_stale_tabs
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics
from tests.support.browser import Visit
from tests.support.server import free_port

SETTINGS = Settings()
SLOW = 30_000  # ms: the cores may be shared


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load("tiny"), SETTINGS)


@pytest.fixture
def page(engine: Engine) -> Page:
    return Pages(engine).get("one")


def fields(clip: Path | None, num_frames: object = 4, start: str = "", end: str = "") -> Selection | None:
    return Selection.from_fields(str(clip) if clip else None, num_frames, start, end, "pyav", SETTINGS)


def test_each_session_has_its_own_page(engine: Engine, clip: Path) -> None:
    now = 0.0
    pages = Pages(engine, lambda: now)
    one, two = pages.get("one"), pages.get("two")
    one.select(fields(clip), engine, SETTINGS)
    assert pages.get("one") is one
    assert two.source is None
    source = one.source
    assert isinstance(source, VideoSource)
    list(source.frames())
    kept = source._folder
    assert kept.exists()
    pages.leave("one")
    now = AWAY_SECONDS + 1
    pages.sweep()
    assert pages.get("two") is two
    assert not kept.exists()
    assert pages.get("one") is not one
    assert len(pages) == 2


def test_a_browser_that_comes_back_soon_finds_its_page(engine: Engine) -> None:
    """A laptop slept, the network changed: the connection ended, and the tab is still open."""
    now = 0.0
    pages = Pages(engine, lambda: now)
    page = pages.get("one")
    pages.leave("one")
    assert page.stopping.is_set()
    now = AWAY_SECONDS - 1
    assert pages.get("one") is page
    now = 2 * AWAY_SECONDS
    pages.sweep()
    assert pages.get("one") is page
    pages.leave("one")
    now = 4 * AWAY_SECONDS
    with page.alone():  # an answer is being ended
        pages.sweep()
        assert len(pages) == 1
    pages.sweep()
    assert len(pages) == 0


def test_a_tab_that_says_that_it_is_closed_is_not_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longva_demo.page.sessions.STOP_SECONDS", 0.01)
    pages = Pages(engine)
    page = pages.get("one")
    with page.alone():  # an answer is being ended
        pages.leave("one", for_good=True)
        pages.leave("one")  # its connection ends too
        assert page.stopping.is_set()
        assert len(pages) == 1
    pages.sweep()
    assert len(pages) == 0
    pages.get("two")
    client = TestClient(Starlette(routes=[leave_route(pages)]))
    assert client.get("/longva/leave/two").status_code == 405
    assert client.post("/longva/leave/nobody").status_code == 204
    assert len(pages) == 1
    assert client.post("/longva/leave/two").status_code == 204
    assert len(pages) == 0


def test_leaving_the_page_in_a_browser_frees_it(visit: Visit) -> None:
    """At once, not when the connection has been gone for a while."""
    visit.pick("One second in a minute")
    address = visit.page.url.rstrip("/")
    before = figures_of(address)["pages"]
    visit.page.goto("about:blank")
    while figures_of(address)["pages"] == before:
        time.sleep(0.1)


def test_a_closed_page_is_remembered_where_something_was_on_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    pages = Pages(engine, lambda: now)
    for name in ("empty", "one", "two", "three"):
        pages.get(name).transcript += [{"kind": "turn"}] if name != "empty" else []
    assert not pages.was_closed("one")
    monkeypatch.setattr("longva_demo.page.sessions.MAX_CLOSED", 2)
    now = IDLE_SECONDS + 1
    pages.sweep()
    assert len(pages) == 0
    assert [pages.was_closed(name) for name in ("empty", "one", "two", "three")] == [False, False, True, True]


def test_events_of_a_closed_page_are_turned_away() -> None:
    app = Starlette(
        routes=[Route("/", lambda _: PlainTextResponse("here"))], middleware=[refuse_stale_tabs("gone".__eq__)]
    )
    client = TestClient(app)
    replies = [client.get("/", headers={SESSION_HEADER: name} if name else {}) for name in ("gone", "open", "")]
    assert [reply.status_code for reply in replies] == [410, 200, 200]


def test_a_tab_whose_page_was_closed_keeps_its_chat_and_its_question(
    engine: Engine, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop slept for long. To the server the tab would be a new visitor, and its chat would be gone."""
    now = 0.0
    pages = Pages(engine, lambda: now)
    monkeypatch.setattr("longva_demo.server.app.Pages", lambda _: pages)
    app = build_app(engine, replace(SETTINGS, port=free_port()))
    app.launch(prevent_thread_lock=True, quiet=True)
    try:
        visit = Visit(browser.new_context(), f"http://127.0.0.1:{app.server_port}")
        visit.pick("A rolling circle")
        answer = visit.ask("What shape is it?")
        visit.page.wait_for_function("localStorage.getItem('longva-chats')")
        now = IDLE_SECONDS + 1
        visit.page.fill("#question textarea", "And which colour?")
        pages.sweep()
        visit.page.press("#question textarea", "Enter")
        said = visit.page.locator(".chat-closed")
        expect(said).to_contain_text("the server has closed it. Choose the video again", timeout=SLOW)
        expect(visit.page.locator(".chat-restarted")).to_be_hidden()
        expect(visit.page.locator("#question textarea")).to_have_value("And which colour?", timeout=SLOW)
        visit.pick("A rolling circle")
        visit.page.press("#question textarea", "Enter")
        assert visit.wait_for_answer(1)
        visit.page.wait_for_function("JSON.parse(localStorage.getItem('longva-chats')).length === 2")
        visit.page.click(".history-chat summary")
        expect(visit.page.locator(".history-answer").first).to_have_text(answer)
        visit.page.context.close()
    finally:
        app.close(verbose=False)


def test_another_page_of_the_same_tab_leaves_the_chats_before_it(engine: Engine) -> None:
    """The browser's store goes by the page's token: to it, a page that was made anew is another one."""
    keeping, request = Save(Pages(engine)), SimpleNamespace(session_hash="one")
    other = Save(Pages(engine)).remember(request)["page"]  # type: ignore[arg-type]
    assert keeping.remember(request)["page"] == keeping.remember(request)["page"] != other  # type: ignore[arg-type]


def test_a_chat_is_remembered_while_it_is_saved_or_checked(engine: Engine) -> None:
    """Both hold the chat for a while, and neither has it remembered afterwards; an answer has."""
    pages, request = Pages(engine), SimpleNamespace(session_hash="one")
    page, keeping = pages.get("one"), Save(pages)
    list(page.session.ask("What is there?", Sampling(max_new_tokens=4)))
    page.transcript.append({"kind": "turn", "question": "What is there?", "answer": ""})
    with page.alone():
        assert keeping.remember(request)["record"]  # type: ignore[arg-type]
        page.transcript.append({"kind": "turn", "question": "And where?", "answer": "", "status": ""})
        assert "record" not in keeping.remember(request)  # type: ignore[arg-type]


def test_another_range_that_fails_keeps_what_is_there(page: Page, engine: Engine, clip: Path) -> None:
    page.select(fields(clip), engine, SETTINGS)
    source, sheets = page.source, page.sheets
    with pytest.raises(DemoError):
        page.select(fields(clip, start="50"), engine, SETTINGS)
    assert page.source is source
    assert page.sheets is sheets


def test_a_new_file_that_fails_leaves_nothing_to_look_at(
    page: Page, engine: Engine, clip: Path, tmp_path: Path
) -> None:
    page.select(fields(clip), engine, SETTINGS)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(DemoError, match=r"empty\.mp4"):
        page.select(fields(empty), engine, SETTINGS)
    assert page.source is None
    with pytest.raises(DemoError, match=r"empty\.mp4"):
        page.select(fields(empty), engine, SETTINGS)


def test_the_same_frames_again_keep_the_conversation(page: Page, engine: Engine, clip: Path) -> None:
    sheets = page.select(fields(clip), engine, SETTINGS)
    assert sheets is not None
    assert sheets.claim()
    list(page.session.ask("What is there?", Sampling(max_new_tokens=4)))
    assert page.select(fields(clip), engine, SETTINGS) is sheets
    assert not sheets.claim()
    assert len(page.session.turns) == 1
    page.select(fields(clip, num_frames=5), engine, SETTINGS)
    assert page.session.turns == []


def read(page: Page, look: Selection | None, engine: Engine) -> VideoSource:
    """Look there and read the frames to the end, as the page does."""
    sheets = page.select(look, engine, SETTINGS)
    assert sheets is not None
    assert isinstance(page.source, VideoSource)
    if sheets.claim():
        for batch in page.source.frames():
            sheets.add(batch)
        sheets.finish()
    return page.source


def test_going_back_finds_the_frames_still_there(page: Page, engine: Engine, clip: Path) -> None:
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


def test_unfinished_and_old_views_are_closed(page: Page, engine: Engine, clip: Path) -> None:
    page.select(fields(clip), engine, SETTINGS)
    unfinished = page.source
    assert isinstance(unfinished, VideoSource)
    sources = [read(page, fields(clip, num_frames=count), engine) for count in range(5, 5 + views.MAX_VIEWS + 2)]
    assert not unfinished._folder.exists()
    assert [source._folder.exists() for source in sources] == [False] + [True] * (views.MAX_VIEWS + 1)
    page.close()
    assert not any(source._folder.exists() for source in sources)


def test_bytes_bound_what_is_kept(page: Page, engine: Engine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(page, fields(clip, num_frames=20), engine)
    assert first.num_bytes > 0
    monkeypatch.setattr(views, "MAX_BYTES", first.num_bytes - 1)
    second = read(page, fields(clip, num_frames=4), engine)
    third = read(page, fields(clip, num_frames=5), engine)
    assert [source._folder.exists() for source in (first, second, third)] == [False, True, True]


def test_a_failed_return_keeps_the_view(
    page: Page, engine: Engine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(page, fields(clip), engine)
    part = read(page, fields(clip, start="2", end="8"), engine)
    with monkeypatch.context() as patch:
        patch.setattr("longva_demo.chat.budget.free_memory", lambda _device: 0)
        patch.setattr("longva_demo.chat.prefill.PrefixLease.num_bytes", 0)
        with pytest.raises(DemoError, match="room for 0 frames"):
            page.select(fields(clip), engine, SETTINGS)
    assert page.source is part
    assert read(page, fields(clip), engine) is whole


def test_one_answer_at_a_time(page: Page) -> None:
    with page.alone(), pytest.raises(DemoError, match="still being written"), page.alone():
        pass
    with page.alone():
        pass


@pytest.mark.parametrize("num_frames", [0, -3, 2001, None, "many"])
def test_budgets_outside_the_slider_are_refused(clip: Path, num_frames: object) -> None:
    with pytest.raises(DemoError, match="budget"):
        fields(clip, num_frames=num_frames)


@pytest.mark.parametrize(("start", "end"), [("soon", ""), ("", "1:2:3:4"), ("5", "5"), ("0:09", "0:03"), ("-1", "")])
def test_ranges_that_are_none_are_refused(clip: Path, start: str, end: str) -> None:
    with pytest.raises(DemoError):
        fields(clip, start=start, end=end)


def test_no_file_is_nothing_to_look_at() -> None:
    assert fields(None, num_frames="anything") is None


def test_frames_are_sent_to_whoever_knows_the_token_while_the_page_looks_at_them(engine: Engine, clip: Path) -> None:
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


def test_what_was_said_about_earlier_frames_is_kept_for_saving(page: Page, engine: Engine, clip: Path) -> None:
    for num_frames, question in ((4, "What is there?"), (5, "What moves?")):
        page.select(fields(clip, num_frames), engine, SETTINGS)
        page.transcript.append({"kind": "turn", "question": question, "answer": ""})
        list(page.session.ask(question, Sampling(max_new_tokens=4)))
        page.settle(page.session.turns[-1], None)
    part = page.part()
    assert part is not None
    assert [len(one.thumbnails) for one in (*page.past, part)] == [4, 5]
    assert [one.record.turns[0].question for one in (*page.past, part)] == ["What is there?", "What moves?"]
    # Only what the session remembers can be checked: not the first answer, nor the note that the frames changed.
    assert [entry.get("checks") for entry in page.shown()["entries"]] == [None, None, ["blind", "compare"]]
    assert page.turn_at(2)[1] is page.session.turns[0]
    for number in (0, 1, 3, -1):
        with pytest.raises(DemoError, match="no longer there"):
            page.turn_at(number)


def test_a_needle_test_that_fails_can_be_started_again(
    engine: Engine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(engine)
    pages.get("one").select(fields(clip), engine, SETTINGS)

    def torn(*_: object, **__: object) -> Iterator[object]:
        yield Progress(Stage.PREFILL, 1, 2)
        raise DemoError("the memory ran out", "set a smaller budget")

    monkeypatch.setattr("longva_demo.page.needle_test.run", torn)
    line, log = (
        AdmissionQueue(engine.prefill_times),
        EventLog(SETTINGS, Metrics(lambda: 1, lambda: 0, engine.prefix_cache)),
    )
    values = NeedleTests(engine, pages, line, log).start(1.0, SimpleNamespace(session_hash="one"))  # type: ignore[arg-type]
    seen: list[bool] = []
    with pytest.raises(gr.Error, match="the memory ran out"):
        seen.extend(value["running"] for value in values)
    assert seen[0]
    assert not seen[-1]
    pages.get("one").close()
    assert pages.get("one").testing.is_set()
