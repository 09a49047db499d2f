"""Bodies with files: limits of size, time and space while they arrive, and what reaches the route."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longva_demo.folders import own_files
from longva_demo.quotas import Quota
from longva_demo.server import bodies, requests
from longva_demo.server.bodies import limit_bodies
from longva_demo.server.openai.bodies import FILES, FULL, spool_files
from longva_demo.server.requests import limit_requests
from longva_demo.server.reservations import Reservations

MB = 1_000_000
PATH = "/v1/chat/completions"
VIDEO = bytes(range(256)) * 4000


class Disk:
    def __init__(self, free: int) -> None:
        self.free = free

    def could_fit(self, num_bytes: int) -> bool:
        return num_bytes <= self.free

    def free_space(self, _: int) -> int:
        return self.free


class App:
    """An app with the middlewares, whose route reads the rest of the body and the files."""

    def __init__(self, free: int = 10**9, max_file_bytes: int = 10 * MB) -> None:
        self.uploads, self.body_bytes = Quota("uploads", 8, 0.25), Quota("bytes", 2 * MB, 0.5)
        limits = max_file_bytes, Reservations(Disk(free)), self.uploads, self.body_bytes
        middleware = [limit_requests(Quota("requests", 100)), spool_files({PATH}, *limits), limit_bodies(*limits)]
        routes = [Route(path, self.read, methods=["POST"]) for path in (PATH, "/other")]
        self.transport = httpx.ASGITransport(Starlette(routes=routes, middleware=middleware))
        self.found: list[bytes] = []

    async def read(self, request: Request) -> Response:
        rest = json.loads(await request.body())
        files = request.scope.get(FILES, {})
        self.found = [file.path.read_bytes() for file in files.values()]
        return JSONResponse({"rest": len(await request.body()), "files": [rest["video"] in files]})

    def post(self, content: Any, path: str = PATH) -> httpx.Response:
        async def post() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://here") as client:
                return await client.post(path, content=content)

        return anyio.run(post)

    def check_empty(self) -> None:
        assert (self.uploads.used, self.body_bytes.used) == (0, 0)
        assert [file for file in own_files() if "incoming" in str(file)] == []


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REFUSAL_SECONDS", 0.0)


def body(data: bytes = VIDEO) -> bytes:
    return json.dumps({"video": base64.b64encode(data).decode(), "text": "x" * 100}).encode()


async def pieces(content: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_file_is_on_the_disk_before_the_route_runs(is_announced: bool) -> None:
    app = App()
    reply = app.post(body() if is_announced else pieces(body())).json()
    assert reply["files"] == [True]
    assert reply["rest"] < 300
    assert app.found == [VIDEO]
    app.check_empty()


@pytest.mark.parametrize("is_announced", [True, False])
def test_too_much_is_refused_while_it_arrives(is_announced: bool) -> None:
    app = App(max_file_bytes=MB // 2)
    content = body(VIDEO * 2)
    reply = app.post(content if is_announced else pieces(content))
    assert (reply.status_code, reply.text) == (413, "the request exceeds the limit of 2 MB; send a smaller one")
    app.check_empty()


def test_the_rest_is_small() -> None:
    app = App()
    reply = app.post(pieces(json.dumps({"text": "word " * 300_000}).encode()))
    assert (reply.status_code, reply.text[:45]) == (413, "the request without its files exceeds the lim")
    app.check_empty()


def test_a_full_storage() -> None:
    app = App(free=1000)
    reply = app.post(pieces(body()))
    assert (reply.status_code, reply.text) == (429, FULL)
    app.check_empty()
    assert app.post(json.dumps({"video": "none"}).encode()).status_code == 200  # needs no space


def test_other_paths_are_not_spooled() -> None:
    app = App()
    assert app.post(body(), "/other").status_code == 413
    assert app.post(json.dumps({"video": "A" * 80_000}).encode(), "/other").json()["files"] == [False]


def test_a_file_that_is_not_base64() -> None:
    app = App()
    reply = app.post(json.dumps({"video": "data:video/mp4;base64," + "A" * 70_000 + "!"}).encode())
    assert (reply.status_code, reply.text) == (400, "a file in the request is not valid base64; encode it again")
    app.check_empty()


def test_a_client_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    app = App()

    async def slow() -> AsyncIterator[bytes]:
        yield body()[:100_000]
        await asyncio.sleep(2)
        yield b""

    reply = app.post(slow())
    assert (reply.status_code, reply.text) == (408, "no data arrived for 0.3 seconds; send the request again")
    app.check_empty()
