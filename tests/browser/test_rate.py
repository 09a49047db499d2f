"""A question above the rate limit is not lost."""

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Visit
from tests.support.server import serving


def test_the_question_returns_to_its_field(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("rate") / "log"
    with serving(log, LONGVA_MODEL="tiny", LONGVA_MAX_QUESTIONS_PER_MINUTE="1") as address:
        context = browser.new_context()
        visit = Visit(context, address)
        visit.ask("What do you see?")
        visit.page.fill("#question textarea", "And now?")
        visit.page.press("#question textarea", "Enter")
        expect(visit.page.get_by_text("the limit of 1 questions per minute is reached")).to_be_visible()
        expect(visit.page.locator("#question textarea")).to_have_value("And now?")
        context.close()
