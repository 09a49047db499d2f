"""A question above a limit is not lost."""

import pytest
from playwright.sync_api import Browser, Route, expect

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


def test_a_question_that_was_refused_at_once_returns_to_its_field(visit: Visit) -> None:
    """The server refused the event itself, since it has too many of them."""
    visit.ask("What do you see?")
    reason = "your network address has too many waiting requests; try again in a minute"

    def refuse(route: Route) -> None:
        if "And now?" in (route.request.post_data or ""):
            route.fulfill(status=429, json={"detail": reason})
        else:
            route.continue_()

    visit.page.route("**/gradio_api/queue/join*", refuse)
    visit.page.fill("#question textarea", "And now?")
    visit.page.press("#question textarea", "Enter")
    expect(visit.page.get_by_text(reason)).to_be_visible()
    expect(visit.page.locator("#question textarea")).to_have_value("And now?")
    visit.page.unroute("**/gradio_api/queue/join*")
    visit.page.press("#question textarea", "Enter")
    assert visit.wait_for_answer(2)
    visit.complaints[:] = [one for one in visit.complaints if "429" not in one]
