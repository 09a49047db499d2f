"""The open pages: whose they are, how many and how large, and when they are closed."""

import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.errors import DemoError
from longva_demo.page.components.frame_browser import ROUTE, frames_route
from longva_demo.page.save import Save
from longva_demo.page.sessions import AWAY_SECONDS, IDLE_SECONDS, Pages
from longva_demo.page.state import Page
from longva_demo.page.transcript import TurnEntry
from longva_demo.quotas import CLIENT, Quota, Quotas
from longva_demo.server.app import close_route
from longva_demo.server.stale_tab import SESSION_HEADER, refuse_stale_tabs
from tests.page.conftest import SETTINGS, fields


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


@pytest.mark.parametrize("name", [None, "", "a" * 65])
def test_a_session_without_a_valid_name_gets_no_page(engine: LocalEngine, name: str | None) -> None:
    pages = Pages(engine)
    with pytest.raises(DemoError, match="the request names no open page"):
        pages.get(name)
    assert len(pages) == 0
