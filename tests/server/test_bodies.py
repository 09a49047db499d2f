"""Request bodies: limits of size, time and space, and how much one client may send at once."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from gradio import route_utils, routes
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from longva_demo.quotas import Quota
from longva_demo.server import bodies as module
from longva_demo.server import requests
from longva_demo.server.bodies import BODY_BYTES, MAX_OTHER_BYTES, STORAGE_FULL, UPLOAD, limit_bodies
from longva_demo.server.requests import limit_requests
from longva_demo.server.reservations import GRANT_BYTES, Reservations
from tests.support.server import serving

MB = 1_000_000


class Disk:
    """A storage with `free` bytes, of which uploads use some."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.stored = 0
        self.asked: list[int] = []

    def could_fit(self, num_bytes: int) -> bool:
        return num_bytes <= self.free

    def free_space(self, num_bytes: int) -> int:
        self.asked.append(num_bytes)
        return self.free - self.stored


class App:
    """An app with these middlewares, whose routes read the body."""

    def __init__(self, free: int = 10**9, max_file_bytes: int = 10**9) -> None:
        self.disk = Disk(free)
        self.uploads, self.body_bytes = Quota("uploads", 8, 0.25), Quota("bytes", 2 * MB, 0.5)
        self.requests = Quota("requests", 100)
        middleware = [
            limit_requests(self.requests),
            limit_bodies(max_file_bytes, Reservations(self.disk), self.uploads, self.body_bytes),
        ]
        routes = [Route(UPLOAD, self.store, methods=["POST"]), Route("/login", self.read, methods=["POST"])]
        app = Starlette(routes=[*routes, Route("/other", self.read, methods=["POST"])], middleware=middleware)
        self.transport = httpx.ASGITransport(app)
        self.held: list[int] = []

    async def store(self, request: Request) -> Response:
        async for piece in request.stream():
            self.disk.stored += len(piece)
        return PlainTextResponse("stored")

    async def read(self, request: Request) -> Response:
        self.held.append(self.body_bytes.used)
        return PlainTextResponse(str(len(await request.body())))

    def post(self, path: str, content: Any) -> httpx.Response:
        async def post() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://here") as client:
                return await client.post(path, content=content)

        return anyio.run(post)


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REFUSAL_SECONDS", 0.0)


async def pieces(size: int, number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield bytes(size)


def test_a_body_is_in_memory_before_a_route_sees_it() -> None:
    app = App()
    assert app.post("/other", pieces(1000, 300)).text == "300000"
    assert app.held == [300_000]
    assert app.body_bytes.used == 0


@pytest.mark.parametrize(("path", "limit"), [("/other", "1 MB"), ("/login", "10 kB")])
@pytest.mark.parametrize("is_announced", [True, False])
def test_too_large_a_body_is_refused(path: str, limit: str, is_announced: bool) -> None:
    app, text = App(), f"the request exceeds the limit of {limit}; send a smaller one"
    for extra in (0, 1):
        size = (MAX_OTHER_BYTES if path == "/other" else 10_000) + extra
        reply = app.post(path, bytes(size) if is_announced else pieces(size // 10 + extra, 10))
        if extra:
            assert (reply.status_code, reply.text) == (413, text)
    assert len(app.held) == 1
    assert app.body_bytes.used == 0


def test_many_values_are_refused() -> None:
    """They would block the server's loop, and take a hundred times their size."""
    app = App()
    assert app.post("/other", b"[" + b"1," * 19_000 + b"1]").status_code == 200
    for body in (b"[" + b"1," * 20_000 + b"1]", b"[" * 30_000, b'{"a":' * 30_000):
        reply = app.post("/other", body)
        assert (reply.status_code, reply.text) == (413, "the request has more than 20,000 values; send fewer")


def test_what_waits_in_memory_has_a_quota() -> None:
    app = App()

    async def wait(client: httpx.AsyncClient, ready: asyncio.Event) -> httpx.Response:
        async def slow() -> AsyncIterator[bytes]:
            yield bytes(600_000)
            await ready.wait()
            yield bytes(100_000)

        return await client.post("/other", content=slow())

    async def run() -> list[httpx.Response]:
        ready = asyncio.Event()
        async with httpx.AsyncClient(transport=app.transport, base_url="http://here") as client:
            first = asyncio.create_task(wait(client, ready))
            while not app.body_bytes.used:
                await asyncio.sleep(0)
            refused = await client.post("/other", content=bytes(600_000))
            ready.set()
            return [refused, await first]

    refused, first = asyncio.run(run())
    assert (refused.status_code, first.status_code) == (429, 200)
    assert refused.text == "your network address has too many bytes; try again in a minute"
    assert app.body_bytes.used == 0


def test_a_body_that_stalls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 0.5)
    app = App()

    async def slow(seconds: float, number: int) -> AsyncIterator[bytes]:
        for _ in range(number):
            yield bytes(100)
            await asyncio.sleep(seconds)

    trickle = app.post("/other", slow(0.05, 20))  # each piece comes in time, but not all of them
    assert (trickle.status_code, trickle.text) == (408, "the request did not arrive within 0.5 seconds; send it again")
    assert app.post(UPLOAD, slow(0.05, 20)).status_code == 200
    stalled = app.post(UPLOAD, slow(5, 2))
    assert (stalled.status_code, stalled.text) == (408, "no data arrived for 0.5 seconds; upload the file again")
    assert app.uploads.used == app.body_bytes.used == 0


def test_space_is_reserved_as_the_bytes_arrive() -> None:
    """What is only announced deletes nothing, and takes no space from others."""
    app = App(free=100 * MB)

    async def run() -> tuple[httpx.Response, list[int]]:
        ready = asyncio.Event()

        async def nothing_yet() -> AsyncIterator[bytes]:
            await ready.wait()
            yield bytes(10)

        async with httpx.AsyncClient(transport=app.transport, base_url="http://here") as client:
            headers = {"Content-Length": str(90 * MB)}
            waiting = asyncio.create_task(client.post(UPLOAD, content=nothing_yet(), headers=headers))
            while not app.uploads.used:
                await asyncio.sleep(0)
            asked = list(app.disk.asked)
            reply = await client.post(UPLOAD, content=pieces(MB, 90))
            ready.set()
            await waiting
            return reply, asked

    reply, asked = asyncio.run(run())
    assert reply.status_code == 200
    assert asked == []
    assert len(app.disk.asked) == 90 * MB // GRANT_BYTES + 2  # in steps, and once for the one that waited


@pytest.mark.parametrize("is_announced", [True, False])
def test_an_upload_that_does_not_fit_is_refused(is_announced: bool) -> None:
    app = App(free=3 * MB)
    assert app.post(UPLOAD, bytes(2 * MB) if is_announced else pieces(MB, 2)).text == "stored"
    reply = app.post(UPLOAD, bytes(2 * MB) if is_announced else pieces(MB, 2))
    assert (reply.status_code, reply.text) == (507, STORAGE_FULL)
    assert app.disk.stored <= 3 * MB
    if is_announced:
        asked = len(app.disk.asked)
        assert app.post(UPLOAD, bytes(4 * MB)).text == STORAGE_FULL  # known before a byte has come
        assert len(app.disk.asked) == asked


def test_uploads_at_the_same_time_share_the_space() -> None:
    app = App(free=50 * MB)

    async def run() -> list[int]:
        async with httpx.AsyncClient(transport=app.transport, base_url="http://here") as client:
            both = [client.post(UPLOAD, content=pieces(MB, 30)) for _ in range(2)]
            return [reply.status_code for reply in await asyncio.gather(*both)]

    assert sorted(asyncio.run(run())) == [200, 507]
    assert app.disk.stored <= 50 * MB


def test_too_large_a_file_is_refused() -> None:
    app = App(max_file_bytes=2 * MB)
    for content in (bytes(3 * MB), pieces(MB, 3)):
        reply = app.post(UPLOAD, content)
        assert (reply.status_code, reply.text) == (413, "the file exceeds the limit of 2 MB; upload a smaller one")


def test_a_client_has_a_share_of_the_uploads() -> None:
    app = App()
    with app.uploads.hold("127.0.0.1", 2):
        assert app.post(UPLOAD, b"a").status_code == 429
    assert app.post(UPLOAD, b"a").status_code == 200


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server, and the folder of its uploads."""
    folder = tmp_path_factory.mktemp("uploads")
    with serving(folder / "log", LONGVA_MODEL="tiny", GRADIO_TEMP_DIR=str(folder / "gradio")) as address:
        yield address, folder / "gradio"


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "locked"]


def test_a_form_has_one_file_in_one_field(running: tuple[str, Path]) -> None:
    address, folder = running
    before = stored(folder)
    url = f"{address}/gradio_api/upload"
    file = ("a.mp4", b"some bytes")
    for number, (files, data, text) in enumerate(
        [
            ([("other", file)], {}, 'the file is not in the field "files"; name the field so'),
            ([("files", file), ("files", file)], {}, "Too many files. Maximum number of files is 1."),
            ([("files", file)], {"text": "x" * 1001}, "a text in the form exceeds 1,000 bytes; send the file alone"),
            ([("files", file)], dict.fromkeys("abcdefghijk", "x"), "Too many fields. Maximum number of fields is 10."),
        ]
    ):
        for query in ("", f"?upload_id=number{number}"):
            reply = httpx.post(url + query, files=files, data=data)  # type: ignore[arg-type]
            assert (reply.status_code, reply.text) == (400, text)
    assert stored(folder) == before
    reply = httpx.post(f"{url}?upload_id=short", files={"files": file}, data={"text": "x"})
    assert [Path(path).read_bytes() for path in reply.json()] == [b"some bytes"]
    assert httpx.post(f"{url}?upload_id={'x' * 65}", files={"files": file}).status_code == 400
    assert httpx.get(f"{address}/gradio_api/upload_progress?upload_id={'x' * 65}").status_code == 400


def test_the_path_of_an_upload_cannot_be_guessed(running: tuple[str, Path]) -> None:
    address, _ = running
    content = os.urandom(100)
    paths = [httpx.post(f"{address}/gradio_api/upload", files={"files": ("a", content)}).json()[0] for _ in range(2)]
    assert paths[0] == paths[1]  # the same content is stored once
    folder = Path(paths[0]).parent.name
    known = {hashlib.new(name, content).hexdigest() for name in ("sha1", "sha256", "blake2b")}
    assert len(folder) == 64
    assert folder not in known | {hashlib.blake2b(content, digest_size=32).hexdigest()}


def test_progress_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = route_utils.FileUploadProgress()
    monkeypatch.setattr(routes, "file_upload_statuses", statuses)
    monkeypatch.setattr(module, "FORGET_SECONDS", 0.01)
    app = App()

    async def run() -> None:
        statuses.track("mine")
        async with httpx.AsyncClient(transport=app.transport, base_url="http://here") as client:
            await client.post(f"{UPLOAD}?upload_id=mine", content=b"a")
            assert "mine" in statuses._statuses
            deadline = time.monotonic() + 60
            while statuses._statuses or statuses._signals:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)

    asyncio.run(run())


def test_the_length_is_known_to_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def answer(request: Request) -> Response:
        seen.append(request.scope[BODY_BYTES])
        return PlainTextResponse("")

    app = App()
    monkeypatch.setattr(app, "read", answer)
    middleware = [limit_bodies(1000, app.disk, app.uploads, app.body_bytes)]
    inner = Starlette(routes=[Route("/other", answer, methods=["POST"])], middleware=middleware)
    app.transport = httpx.ASGITransport(inner)
    app.post("/other", bytes(123))
    assert seen == [123]
