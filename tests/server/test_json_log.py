"""Each line of the log is JSON, and none contains what a client sent."""

import json
import logging
import socket
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.quotas import Quota
from longva_demo.server import requests
from longva_demo.server.json_log import json_log, no_prints
from longva_demo.server.requests import limit_requests
from longva_demo.telemetry import HEALTH
from tests.support.server import free_port, start_server

WORD = "stranger"
FORGED = '%0A{"event":"question","question":"stranger"}'


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_whoever_writes_it_a_line_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError(WORD)

    with json_log(), no_prints():
        logging.getLogger("longva_demo.server").warning("cannot delete %s: %s (%d)", WORD, ValueError(WORD), 3)
        logging.getLogger("another.package").error(f"failed for {WORD}")
        warnings.warn(WORD, stacklevel=1)
        for _ in range(3):
            print(WORD, 1, "\n", WORD)
        sys.stderr.write(f"{WORD}\n")
        try:
            fail()
        except ValueError:
            traceback.print_exc()
            logging.getLogger("longva_demo.page").exception("a handler failed")
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    printed, log = capfd.readouterr()
    assert printed == ""
    assert WORD not in log
    lines = lines_of(log)
    assert {line["event"] for line in lines} == {"log"}
    assert lines[0]["message"] == "cannot delete …: ValueError (3)"
    failures = [line for line in lines if line.get("error") == "ValueError"]
    assert [line["message"] for line in failures] == ["a handler failed", "a thread failed"]
    assert all(str(line["at"]).count("test_json_log.py:") for line in failures)
    assert [line["logger"] for line in lines].count("another.package") == 1
    print("again as before")
    assert capfd.readouterr().out == "again as before\n"


def test_a_route_that_fails_is_one_line_for_client_and_log(capfd: pytest.CaptureFixture[str]) -> None:
    async def fail(request: Request) -> Response:
        raise ValueError(request.url.path)

    async def lose(_: Request) -> Response:
        raise ClientDisconnect

    routes = [Route("/gone", lose), Route("/{rest:path}", fail)]
    app = Starlette(routes=routes, middleware=[limit_requests(Quota("requests", 10))])
    with json_log():
        reply = TestClient(app).get(f"/{WORD}")
        with suppress(AssertionError):  # the test's client is still there, but gets no response
            TestClient(app).get("/gone")
    assert (reply.status_code, reply.text) == (500, "the server failed to answer this request; try again later")
    lines = lines_of(capfd.readouterr().err)  # a thread of an earlier test may add one of its own
    assert [line["error"] for line in lines if line.get("message") == "a route failed"] == ["ValueError"], lines


def test_a_refused_client_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REFUSAL_SECONDS", 0.3)

    async def refuse(_: Request) -> Response:
        return requests.refusal(429, "wait")

    async def answer(_: Request) -> Response:
        return Response("yes")

    quota = Quota("requests at once", 4)
    app = Starlette(routes=[Route("/no", refuse), Route("/", answer)], middleware=[limit_requests(quota)])
    client = TestClient(app)
    for path, is_delayed in (("/", False), ("/no", True), ("/nothing", False)):
        started = time.monotonic()
        client.get(path)
        assert (time.monotonic() - started >= 0.3) == is_delayed
    with quota.hold("", 4):  # those beyond the quota have no place in which to wait
        started = time.monotonic()
        assert client.get("/").status_code == 429
        assert time.monotonic() - started < 0.3


def test_too_many_requests_at_once_are_refused_but_health_is_told() -> None:
    async def answer(_: Request) -> Response:
        return Response("yes")

    quota = Quota("requests at once", 4, 0.5)
    routes = [Route("/", answer), Route(HEALTH, answer)]
    client = TestClient(Starlette(routes=routes, middleware=[limit_requests(quota)]), client=("10.0.0.1", 1))
    with quota.hold("10.0.0.1", 2):
        refused = client.get("/")
        assert (refused.status_code, refused.headers["connection"]) == (429, "close")
        assert refused.text == "your network address has too many requests at once; try again in a minute"
        assert client.get(HEALTH).status_code == 200
    assert client.get("/").status_code == 200
    assert quota.used == 0


def test_strangers_write_nothing_into_the_log(tmp_path: Path, clip: Path) -> None:
    log, port = tmp_path / "log", free_port()
    program = ("sh", "-c", f'exec {sys.executable} app.py "$@" > {tmp_path / "printed"}', "sh")
    process = start_server(log, port, program=program, LONGVA_MODEL="tiny")
    address = f"http://127.0.0.1:{port}"
    try:
        for head in (f"{WORD}\r\n\r\n", f"GET /{WORD} HTTP/9\r\n\r\n", f"GET / HTTP/1.1\r\n{WORD}\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(head.encode())
                connection.recv(1000)
        for path in (
            f"/{FORGED}",
            f"/gradio_api/custom_component/{FORGED}/client/component/{WORD}",
            f"/gradio_api/custom_component/a/client/component/{FORGED}",
            f"/gradio_api/file={FORGED}",
            f"/gradio_api/file=/{WORD * 2000}",
            f"/gradio_api/call/chat/{WORD}",
            f"/gradio_api/stream/{WORD}/0/{WORD}/playlist.m3u8",
            f"/gradio_api/stream/{WORD}/{WORD}/1/playlist-file",
            f"/gradio_api/heartbeat/{WORD}%00",
            f"/monitoring/{WORD}",
            f"/static/{FORGED}",
            f"/svelte/{WORD}%00",
            f"/longva/frames/{WORD}",
        ):
            try:
                httpx.get(address + path, timeout=1)
            except (httpx.TimeoutException, httpx.RemoteProtocolError):
                assert "heartbeat" in path or "/call/" in path  # these are streams
        for path, body in (
            ("queue/join", f'{{"{WORD}'),
            ("queue/join", f'{{"fn_index": "{WORD}", "data": []}}'),
            ("queue/join", f'{{"fn_index": 99999, "session_hash": "{WORD}", "data": []}}'),
            (
                "component_server",
                f'{{"component_id": 99999, "fn_name": "{WORD}", "session_hash": "{WORD}", "data": 1}}',
            ),
            ("component_server", f'{{"component_id": 1, "fn_name": "{WORD}", "session_hash": "a", "data": 1}}'),
            ("cancel", f'{{"event_id": "{WORD}", "session_hash": "{WORD}", "fn_index": 1}}'),
            ("reset", f'{{"event_id": "{WORD}"}}'),
            ("call/chat", f'{{"data": ["{WORD}"]}}'),
            ("call/chat", f'{{"data": [["{WORD}"], null, "{WORD}", "", "", 0, 1, 8]}}'),
            (f"stream/{WORD}", f'{{"data": ["{WORD}"]}}'),
            (f"stream/{WORD}/close", "{}"),
            ("vibe-edit", f'{{"prompt": "{WORD}"}}'),
        ):
            headers = {"Content-Type": "application/json"}
            assert httpx.post(f"{address}/gradio_api/{path}", content=body, headers=headers, timeout=30).status_code
        for name in (f"{WORD}\n{WORD}.mp4", "x" * 3000):
            httpx.post(f"{address}/gradio_api/upload", files={"files": (name, clip.read_bytes())}, timeout=30)
        for kind in ("multipart/form-data", f"multipart/form-data; boundary={WORD}", WORD):
            headers = {"Content-Type": kind}
            httpx.post(f"{address}/gradio_api/upload", content=f"--{WORD}\r\n{WORD}", headers=headers, timeout=30)
    finally:
        process.terminate()
        process.wait(30)
    text = log.read_text()
    assert WORD not in text
    lines = lines_of(text)
    assert any(line["event"] == "upload" for line in lines)
    assert "Running on local URL" in (tmp_path / "printed").read_text()
