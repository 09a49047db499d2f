"""The page on which visitors log in."""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from longva_demo.page.i18n import CATALOGUES
from tests.support.server import serving


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a password."""
    log = tmp_path_factory.mktemp("locked") / "server.log"
    with serving(log, "--model", "tiny", LONGVA_PASSWORD="open sesame") as address:
        yield address


def log_in(page: Page, password: str, words: dict[str, str]) -> None:
    page.get_by_label(words["login.user"]).fill("longva")
    page.get_by_label(words["login.password"]).fill(password)
    page.get_by_role("button", name=words["login.button"]).click()


@pytest.mark.parametrize(("locale", "language"), [("en-GB", "en"), ("fr-CA", "fr"), ("de-DE", "en")])
def test_a_visitor_logs_in(browser: Browser, locked: str, locale: str, language: str) -> None:
    words = CATALOGUES[language]
    context = browser.new_context(locale=locale)
    page = context.new_page()
    page.goto(locked)
    expect(page).to_have_title(words["login.title"])
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.get_by_label(words["login.user"])).to_be_focused()
    log_in(page, "wrong", words)
    expect(page.get_by_role("alert")).to_have_text(words["login.wrong"])
    log_in(page, "open sesame", words)
    page.wait_for_selector(".drawn .card")
    page.keyboard.press("?")
    page.get_by_role("button", name=words["help.logout"]).click()
    expect(page).to_have_title(words["login.title"])
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_violated(browser: Browser, locked: str, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 320, "height": 600})
    page = context.new_page()
    page.goto(locked)
    found: dict[str, Any] = Axe().run(page).response
    assert len(found["passes"]) > 10
    assert [rule["id"] for rule in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
