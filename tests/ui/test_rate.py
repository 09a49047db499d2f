"""Who asks too much in a minute is told so; the question is not lost, and others are not held up."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from longva_demo.chat import TextDelta
from longva_demo.errors import DemoError
from longva_demo.ui import rate as module
from longva_demo.ui.rate import CALLER, Rate, at_a_rate
from tests.ui.conftest import Visit, serving


def test_the_limit_holds_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    rate = Rate(2)
    rate.count("page a", "address 1")
    now += 20
    rate.count("page b", "address 1")
    with pytest.raises(DemoError, match="the limit here is 2 a minute, and it is reached; wait 40 seconds"):
        rate.count("page b", "address 1")
    rate.count("page b", "address 2")  # what was refused does not count
    now += 41
    rate.count("page c", "address 1")
    now += 120
    rate.count("page d")
    assert set(rate._asked) == {"page d"}


def test_the_caller_is_who_asks() -> None:
    asked = []

    def ask(*_: object) -> Iterator[TextDelta]:
        asked.append(CALLER.get())
        yield TextDelta("yes")

    asker = at_a_rate(ask, Rate(1))  # type: ignore[arg-type]
    for caller in (("page a",), ("page b",)):
        CALLER.set(caller)
        assert list(asker(None, "", None, False, threading.Event())) == [TextDelta("yes")]  # type: ignore[arg-type]
    with pytest.raises(DemoError):
        next(asker(None, "", None, False, threading.Event()))  # type: ignore[arg-type]
    assert asked == [("page a",), ("page b",)]


def test_the_question_returns_to_its_field(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("rate") / "log"
    with serving(log, LONGVA_MODEL="tiny", LONGVA_MAX_QUESTIONS_PER_MINUTE="1") as address:
        context = browser.new_context()
        visit = Visit(context, address)
        visit.ask("What do you see?")
        visit.page.fill("#question textarea", "And now?")
        visit.page.press("#question textarea", "Enter")
        expect(visit.page.get_by_text("the limit here is 1 a minute")).to_be_visible()
        expect(visit.page.locator("#question textarea")).to_have_value("And now?")
        context.close()
