"""Pages that a browser leaves, and pages that the server closes while their tab sleeps."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from longva_demo.chat import LocalEngine
from longva_demo.cli.doctor import server_metrics
from longva_demo.model import load
from longva_demo.page.sessions import IDLE_SECONDS, Pages
from longva_demo.server import build_app
from longva_demo.settings import Settings
from tests.support.browser import Visit
from tests.support.server import free_port

SETTINGS = Settings()


def test_leaving_the_page_in_a_browser_closes_it(visit: Visit) -> None:
    """Immediately, not after the grace period of a lost connection."""
    visit.pick("One second in a minute")
    address = visit.address
    before = server_metrics(address)["pages"]
    visit.open("about:blank")
    while server_metrics(address)["pages"] == before:
        time.sleep(0.1)


def test_a_tab_whose_page_was_closed_keeps_its_chat_and_its_question(
    browser: Browser, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop slept for long. The server would treat the tab as a new visitor, and its chat would be lost."""
    now = 0.0
    engine = LocalEngine(load("tiny"), SETTINGS)
    pages = Pages(engine, lambda: now)
    monkeypatch.setattr("longva_demo.server.app.Pages", lambda *_, **__: pages)
    app = build_app(engine, replace(SETTINGS, port=free_port()))
    app.launch(prevent_thread_lock=True, quiet=True)
    try:
        visit = Visit(browser.new_context(), f"http://127.0.0.1:{app.server_port}")
        visit.upload(clip)
        visit.wait_for_frames()
        answer = visit.ask("What shape is it?")
        visit.page.wait_for_function("localStorage.getItem('longva-chats')")
        now = IDLE_SECONDS + 1
        visit.page.fill("#question textarea", "And which colour?")
        pages.close_abandoned()
        visit.page.press("#question textarea", "Enter")
        # It is reloaded, with its file and its chat.
        expect(visit.page.locator(".turn .stats")).to_have_text("from an earlier visit")
        expect(visit.page.locator(".turn .answer")).to_have_text(answer)
        expect(visit.page.locator("#question textarea")).to_have_value("And which colour?")
        expect(visit.page.locator(".chat-closed")).to_be_hidden()
        expect(visit.page.locator(".chat-restarted")).to_be_hidden()
        visit.page.press("#question textarea", "Enter")
        assert visit.wait_for_answer(2)
        # Without its file, which the server deletes after a day, it says what to do.
        Path(visit.page.evaluate("JSON.parse(sessionStorage.getItem('longva-own-file')).fields[0].path")).unlink()
        now += IDLE_SECONDS + 1
        pages.close_abandoned()
        visit.page.fill("#question textarea", "And where?")
        visit.page.press("#question textarea", "Enter")
        said = visit.page.locator(".chat-closed")
        expect(said).to_contain_text("the server has closed it. Choose the video again")
        expect(said).to_be_visible()
        expect(visit.page.locator("#question textarea")).to_have_value("And where?")
        visit.page.click(".history-chat summary")
        expect(visit.page.locator(".history-answer").first).to_have_text(answer)
        visit.page.context.close()
    finally:
        app.close(verbose=False)
