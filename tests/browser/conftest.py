"""One browser for all tests. Each test gets a page with empty storage."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, expect, sync_playwright

from tests.support.browser import ARGUMENTS, PATIENCE_MS, Visit, find_browser

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One for all browsers: a process can run only one."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=find_browser(playwright.chromium), args=list(ARGUMENTS))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def desktop(browser: Browser) -> Iterator[BrowserContext]:
    """Shared by all visits, so that the page's scripts are fetched and compiled once."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.new_page()
    yield context
    context.close()


@pytest.fixture
def visit(desktop: BrowserContext, address: str) -> Iterator[Visit]:
    (blank,) = desktop.pages
    desktop.new_cdp_session(blank).send(
        "Storage.clearDataForOrigin", {"origin": address, "storageTypes": "cookies,local_storage,indexeddb"}
    )
    yield Visit(desktop, address)
    for page in desktop.pages:
        if page is not blank:
            page.goto("about:blank")  # leaving tells the server to release the visit, which closing may not
            page.close()
