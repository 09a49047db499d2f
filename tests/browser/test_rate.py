"""Who asks for too much in a minute is told so; the question is not lost, and others are not held up."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from longva_demo.chat import TextDelta
from longva_demo.errors import DemoError
from longva_demo.server import rate_limit as module
from longva_demo.server.rate_limit import CALLER, MAX_LOGINS, RateLimit, limit_answers
from longva_demo.server.serve import tell_visitors_apart
from tests.browser.test_api import file_at
from tests.support.browser import Visit
from tests.support.server import serving


def test_the_limit_holds_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    rate = RateLimit(2, "questions")
    rate.count("page a", "address 1")
    now += 20
    rate.count("page b", "address 1")
    with pytest.raises(DemoError, match="the limit here is 2 questions a minute, and it is reached; wait 40 seconds"):
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

    answerer = limit_answers(ask, RateLimit(1, "questions"))  # type: ignore[arg-type]
    for caller in (("page a",), ("page b",)):
        CALLER.set(caller)
        assert list(answerer(None, "", None, False, threading.Event())) == [TextDelta("yes")]  # type: ignore[arg-type]
    with pytest.raises(DemoError):
        next(answerer(None, "", None, False, threading.Event()))  # type: ignore[arg-type]
    assert asked == [("page a",), ("page b",)]


def test_the_question_returns_to_its_field(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("rate") / "log"
    with serving(log, LONGVA_MODEL="tiny", LONGVA_MAX_QUESTIONS_PER_MINUTE="1") as address:
        context = browser.new_context()
        visit = Visit(context, address)
        visit.ask("What do you see?")
        visit.page.fill("#question textarea", "And now?")
        visit.page.press("#question textarea", "Enter")
        expect(visit.page.get_by_text("the limit here is 1 questions a minute")).to_be_visible()
        expect(visit.page.locator("#question textarea")).to_have_value("And now?")
        context.close()


def test_events_uploads_and_log_ins_are_limited_for_an_address(clip: Path, tmp_path: Path) -> None:
    """A proxy on this machine says who comes from where."""
    password, most = "open sesame", 4
    variables = {"LONGVA_PASSWORD": password, "LONGVA_MAX_EVENTS_PER_MINUTE": str(most)}
    with (
        serving(tmp_path / "log", "--model", "tiny", **variables) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):

        def log_in(password: str, sender: str) -> httpx.Response:
            data = {"username": "longva", "password": password}
            return client.post("/login", data=data, headers={"X-Forwarded-For": sender})

        def upload(sender: str) -> httpx.Response:
            files = {"files": ("clip.mp4", clip.read_bytes())}
            return client.post("/gradio_api/upload", files=files, headers={"X-Forwarded-For": sender})

        def call(name: str, data: list[object], sender: str) -> str:
            headers = {"X-Forwarded-For": sender}
            event = client.post(f"/gradio_api/call/{name}", json={"data": data}, headers=headers).json()["event_id"]
            return client.get(f"/gradio_api/call/{name}/{event}").text

        assert [log_in("a guess", "10.0.0.1").status_code for _ in range(MAX_LOGINS)] == [400] * MAX_LOGINS
        refused = log_in(password, "10.0.0.1")
        assert refused.status_code == 429
        line = r"the limit here is 30 log-ins a minute, and it is reached; wait \d+ seconds and try again"
        assert re.fullmatch(line, refused.text)
        assert log_in(password, "10.0.0.2").status_code == 200  # others are not held up

        paths = [upload("10.0.0.3").json()[0] for _ in range(most)]
        refused = upload("10.0.0.3")
        assert refused.status_code == 429
        assert "the limit here is 4 events a minute" in refused.text
        told = call("sample_frames", [file_at(paths[0]), 4, "", ""], "10.0.0.3")
        assert "the limit here is 4 events a minute" in told

        told = call("chat", ["What do you see?", None, 4, "", "", 0, 1, 32], "10.0.0.4")
        assert told.count("event: generating") > most  # a stream is one event
        assert "event: complete" in told


@pytest.mark.parametrize(
    ("space", "trusted", "then"), [(None, None, None), ("me/longva", None, "*"), ("me/longva", "10.0.0.1", "10.0.0.1")]
)
def test_on_a_space_the_proxy_says_who_visits(
    space: str | None, trusted: str | None, then: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SPACE_ID", space), ("FORWARDED_ALLOW_IPS", trusted)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    tell_visitors_apart()
    assert os.environ.get("FORWARDED_ALLOW_IPS") == then
