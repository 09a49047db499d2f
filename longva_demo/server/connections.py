"""Connections: how many there may be, and when they are closed. uvicorn, which Gradio starts, has no such limits."""

import asyncio
import resource
import time
from collections import Counter
from typing import Any, ClassVar

import h11
from uvicorn import config
from uvicorn.protocols.http.h11_impl import H11Protocol

from longva_demo.quotas import Quota, QuotaError, client_of

# How long a connection may be idle, or take to send the first line and the headers of a request.
HEAD_SECONDS = 10.0
# How long a client may read nothing of a response. A browser does not read a video while it is paused.
UNREAD_SECONDS, UNREAD_VIDEO_SECONDS = 60.0, 3600.0
VIDEO = "/gradio_api/file="
# Idle connections of one address. A browser keeps six; a proxy keeps more.
MAX_IDLE = 64
# A connection is not closed before its first request can have arrived.
GRACE_SECONDS = 1.0


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit_connections(quota: Quota) -> None:
    """Let uvicorn use the protocol below."""

    class LimitedByQuota(LimitedProtocol):
        limits = Connections(quota)

    config.HTTP_PROTOCOLS["auto"] = LimitedByQuota  # type: ignore[assignment]


class Connections:
    """The connections of one server, under `quota`. If there are too many, idle ones are closed, oldest first.

    A flood of silent connections thus closes its own. Only the event loop's thread uses this.
    """

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._open: set[LimitedProtocol] = set()
        self._idle: dict[LimitedProtocol, tuple[str, float]] = {}  # address and since when, oldest first

    def add(self, connection: "LimitedProtocol") -> bool:
        """Count a new connection. False if there are too many, and none of them is idle."""
        try:
            self._quota.take("")
        except QuotaError:
            most = Counter(address for address, _ in self._idle.values()).most_common(1)
            if not most:
                return False
            self._close(self._oldest(most[0][0]))
            self._quota.take("")
        self._open.add(connection)
        return True

    def remove(self, connection: "LimitedProtocol") -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._idle.pop(connection, None)
            self._quota.give_back("")

    def set_idle(self, connection: "LimitedProtocol", address: str) -> None:
        now = time.monotonic()
        self._idle.setdefault(connection, (address, now))
        if sum(other == address for other, _ in self._idle.values()) > MAX_IDLE:
            oldest = self._oldest(address)
            if now - self._idle[oldest][1] > GRACE_SECONDS:
                self._close(oldest)

    def set_busy(self, connection: "LimitedProtocol") -> None:
        self._idle.pop(connection, None)

    def _oldest(self, address: str) -> "LimitedProtocol":
        return next(connection for connection, (other, _) in self._idle.items() if other == address)

    def _close(self, connection: "LimitedProtocol") -> None:
        self.remove(connection)
        connection.transport.abort()


class LimitedProtocol(H11Protocol):
    """One HTTP connection, which is closed when its client stalls. There are no WebSockets."""

    limits: ClassVar[Connections]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.limits.add(self):
            self._watch()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.limits.remove(self)
        for timer in (self._head_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        is_video = self.scope is not None and VIDEO in self.scope["path"]
        seconds = UNREAD_VIDEO_SECONDS if is_video else UNREAD_SECONDS
        self._unread_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()

    def _should_upgrade(self) -> bool:
        return False

    def _watch(self) -> None:
        """Start or stop the time limit for the next request's headers."""
        if self.transport.is_closing():
            return
        is_busy = self.cycle is not None and not self.cycle.response_complete
        is_draining = self.conn.their_state is h11.SEND_BODY  # of a request that was refused
        if self._head_timer is not None and (is_busy or is_draining):
            self._head_timer.cancel()
            self._head_timer = None
        if is_busy:
            self.limits.set_busy(self)
        else:
            self.limits.set_idle(self, client_of({"client": self.client}))
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
