"""Rate limits per address."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn

from longva_demo.chat import TextDelta
from longva_demo.errors import DemoError
from longva_demo.server import rate_limit as module
from longva_demo.server.rate_limit import CALLER, MAX_LOGINS, RateLimit, address_name, limit_answers
from longva_demo.server.serve import trust_proxies
from tests.support.server import file_at, serving


def test_the_limit_holds_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    rate = RateLimit(2, "questions")
    rate.count("page a", "address 1")
    now += 20
    rate.count("page b", "address 1")
    with pytest.raises(DemoError, match="the limit of 2 questions per minute is reached; wait 40 seconds"):
        rate.count("page b", "address 1")
    rate.count("page b", "address 2")  # refused questions do not count
    now += 41
    rate.count("page c", "address 1")
    now += 120
    rate.count("page d")
    assert set(rate._times) == {"page d"}


def test_each_caller_has_its_own_limit() -> None:
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


@pytest.mark.slow
def test_events_uploads_and_log_ins_are_limited_per_address(clip: Path, tmp_path: Path) -> None:
    """A local proxy forwards the IP addresses."""
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
            reply = client.post(f"/gradio_api/call/{name}", json={"data": data}, headers=headers)
            if reply.status_code == 429:
                return str(reply.json()["detail"])
            return client.get(f"/gradio_api/call/{name}/{reply.json()['event_id']}").text

        assert [log_in("a guess", "10.0.0.1").status_code for _ in range(MAX_LOGINS)] == [400] * MAX_LOGINS
        refused = log_in(password, "10.0.0.1")
        assert refused.status_code == 429
        message = r"the limit of 30 log-ins per minute is reached; wait \d+ seconds and try again"
        assert re.fullmatch(message, refused.text)
        assert log_in(password, "10.0.0.2").status_code == 200  # others are not affected

        paths = [upload("10.0.0.3").json()[0] for _ in range(most)]
        refused = upload("10.0.0.3")
        assert refused.status_code == 429
        assert "the limit of 4 events per minute is reached" in refused.text
        reply = call("sample_frames", [file_at(paths[0]), 4, "", ""], "10.0.0.3")
        assert "the limit of 4 events per minute is reached" in reply

        for path in ("/", "/config", "/metrics", "/gradio_api/info"):
            assert client.get(path, headers={"X-Forwarded-For": "10.0.0.5"}).status_code == 200
        for path in ("/", "/config/", "/longva/frames/a/frames.zip"):
            assert client.get(path, headers={"X-Forwarded-For": "10.0.0.5"}).status_code == 429
        assert client.get("/healthz", headers={"X-Forwarded-For": "10.0.0.5"}).status_code == 200

        reply = call("chat", ["What do you see?", None, 4, "", "", 0, 1, 32], "10.0.0.4")
        assert reply.count("event: generating") > most  # a stream is one event
        assert "event: complete" in reply


@pytest.mark.parametrize(
    ("space", "trusted", "sender", "forwarded", "seen"),
    [
        ("", "", "127.0.0.1", "9.9.9.9, 8.8.8.8", "8.8.8.8"),
        ("", "", "10.0.0.7", "8.8.8.8", "10.0.0.7"),
        ("", "10.0.0.0/24", "10.0.0.7", "9.9.9.9, 8.8.8.8, 10.0.0.8", "8.8.8.8"),
        ("me/longva", "", "10.16.3.4", "9.9.9.9, 8.8.8.8", "8.8.8.8"),  # the first is what the visitor claims
        ("me/longva", "", "10.16.3.4", "8.8.8.8, 10.16.1.1", "8.8.8.8"),
        ("me/longva", "10.0.0.1", "10.16.3.4", "8.8.8.8", "10.16.3.4"),
    ],
)
def test_the_address_behind_a_proxy(
    space: str, trusted: str, sender: str, forwarded: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", space)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")  # so that it is restored
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    trust_proxies(trusted)
    found = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        found.append(address_name(scope))

    config = uvicorn.Config(app, proxy_headers=True)
    config.load()
    headers = [(b"x-forwarded-for", forwarded.encode())]
    anyio.run(config.loaded_app, {"type": "http", "client": (sender, 1), "headers": headers}, None, None)
    assert found == [f"address {seen}"]


@pytest.mark.parametrize("addresses", ["a proxy", "*", "10.0.0.1, 10.0.0.300"])
def test_a_proxy_without_a_valid_address_is_one_line(addresses: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "as before")
    with pytest.raises(DemoError, match=r"is not a valid proxy; use an IP address, or a network such as 10\.0\.0\.0/8"):
        trust_proxies(addresses)
    assert os.environ["FORWARDED_ALLOW_IPS"] == "as before"
