"""Connections that stall are closed, and a flood of them closes its own."""

import asyncio
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from longva_demo.quotas import Quota
from longva_demo.server import connections as module
from longva_demo.server.connections import limit_connections, raise_file_limit
from tests.support.server import free_port

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class Server:
    """A server with at most 20 connections, 5 idle ones of an address, and short time limits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_IDLE", 5)
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.2)
        monkeypatch.setattr(module, "HEAD_SECONDS", 1.0)
        monkeypatch.setattr(module, "UNREAD_SECONDS", 1.0)
        monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", dict(uvicorn.config.HTTP_PROTOCOLS))
        self.quota = Quota("connections", 20)
        limit_connections(self.quota)
        self.port = free_port()
        self.ended: list[str] = []
        paths = {"/": self.answer, "/held": self.hold, "/large": self.large, "/gradio_api/file=a.mp4": self.large}
        app = Starlette(routes=[Route(path, respond) for path, respond in paths.items()])
        self._server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(60)

    async def answer(self, _: Request) -> Response:
        return PlainTextResponse("yes")

    async def hold(self, request: Request) -> Response:
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        return PlainTextResponse("no")

    async def large(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(10**6)
                    await asyncio.sleep(0)
            finally:
                self.ended.append(request.url.path)

        return StreamingResponse(pieces())

    def connect(self, address: str = "127.0.0.1", head: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(address, 0))
        connection.sendall(head)
        return connection


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(monkeypatch) as server:
        yield server


def is_answered(connection: socket.socket) -> bool:
    """Whether the server answers a request for "/"."""
    reply = b""
    while not reply.endswith(b"yes"):
        piece = connection.recv(1000)
        if not piece:
            return False
        reply += piece
    return True


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes the connection before it answers."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("head", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: he"])
def test_a_connection_without_a_request_is_closed(server: Server, head: bytes) -> None:
    started = time.monotonic()
    assert is_closed(server.connect(head=head))
    assert time.monotonic() - started > 0.9
    assert server.quota.used == 0


def test_headers_that_trickle_do_not_keep_a_connection(server: Server) -> None:
    connection = server.connect(head=HEAD)
    assert is_answered(connection)
    for _ in range(100):  # also for the second request of a connection
        try:
            connection.sendall(b"X")
        except ConnectionError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the connection is still open after ten seconds")


def test_the_oldest_idle_connections_of_an_address_are_closed(server: Server) -> None:
    with ExitStack() as opened:
        mine = [opened.enter_context(server.connect("127.0.0.1")) for _ in range(5)]
        other = opened.enter_context(server.connect("127.0.0.2"))
        time.sleep(0.3)
        newest = opened.enter_context(server.connect("127.0.0.1"))
        assert is_closed(mine[0])
        for connection in (*mine[1:], other, newest):
            connection.sendall(HEAD)
            assert is_answered(connection)


def test_requests_are_not_closed_for_new_connections(server: Server) -> None:
    with ExitStack() as opened:
        held = [
            opened.enter_context(server.connect(head=b"GET /held HTTP/1.1\r\nHost: here\r\n\r\n")) for _ in range(15)
        ]
        silent = [opened.enter_context(server.connect("127.0.0.2")) for _ in range(5)]
        while server.quota.used < 20:
            time.sleep(0.01)
        another = opened.enter_context(server.connect("127.0.0.3", HEAD))
        assert is_answered(another)
        assert is_closed(silent[0])
        for connection in held:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
    while server.quota.used:
        time.sleep(0.01)


def test_a_client_that_reads_nothing_is_disconnected(server: Server) -> None:
    with server.connect(head=b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n"):
        while not server.ended:
            time.sleep(0.01)
    assert server.ended == ["/large"]


def test_a_video_may_be_paused(server: Server) -> None:
    with server.connect(head=b"GET /gradio_api/file=a.mp4 HTTP/1.1\r\nHost: here\r\n\r\n") as connection:
        time.sleep(2)
        assert not server.ended
        assert connection.recv(1000)
    while not server.ended:
        time.sleep(0.01)


def test_there_are_no_web_sockets(server: Server) -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    with server.connect(head=head) as connection:
        assert is_answered(connection)


def test_the_server_may_open_as_many_files_as_the_system_allows() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= 900
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
