"""Rate limits per minute, for each page and each IP address: questions, events of all kinds, log-ins."""

import math
import re
import threading
import time
from collections import defaultdict, deque
from contextvars import ContextVar

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from longva_demo.chat import ChatSession, Sampling
from longva_demo.chat.answering import Answerer, Events
from longva_demo.quotas import QuotaError, client_of
from longva_demo.server.bodies import LOGIN, UPLOAD
from longva_demo.server.requests import is_program, refusal, route_of
from longva_demo.telemetry import METRICS

SECONDS = 60.0
MAX_LOGINS = 30  # per minute and IP address
# What is computed for each request: the page, its configuration, the API's description and the metrics.
RENDERED = {"", "/config", "/gradio_api/info", "/gradio_api/openapi.json", "/openapi.json", METRICS}
# Of frames, which the server decodes or encodes for each request.
DOWNLOAD = re.compile(r"/longva/frames/[^/]+/.")
# The names of the caller that are counted: the page and its IP address. Set when an event arrives; threads inherit it.
CALLER: ContextVar[tuple[str, ...]] = ContextVar("CALLER", default=())


class RateLimit:
    """At most `max_per_minute` of something, such as "questions", for each name."""

    def __init__(self, max_per_minute: int, what: str) -> None:
        self._max_per_minute = max_per_minute
        self._what = what
        self._times: dict[str, deque[float]] = defaultdict(deque)  # of the last minute, oldest first
        self._lock = threading.Lock()

    def count(self, *names: str) -> None:
        """Count one more for each of `names`.

        Raises:
            QuotaError: one of them has reached the limit. Nothing is counted then.
        """
        with self._lock:
            now = self._check(names)
            for name in names:
                self._times[name].append(now)

    def check(self, *names: str) -> None:
        """Raises QuotaError if one of `names` has reached the limit; counts nothing."""
        with self._lock:
            self._check(names)

    def _check(self, names: tuple[str, ...]) -> float:
        """`check`, with the lock held. Returns the time."""
        now = time.monotonic()
        for name in tuple(self._times):
            while self._times[name] and now - self._times[name][0] >= SECONDS:
                self._times[name].popleft()
            if not self._times[name]:
                del self._times[name]
        wait = max((SECONDS - now + self._times[name][0] for name in names if self._is_full(name)), default=0.0)
        if wait:
            limit = f"the limit of {self._max_per_minute:,} {self._what} per minute is reached"
            raise QuotaError(limit, f"wait {math.ceil(wait)} seconds and try again")
        return now

    def _is_full(self, name: str) -> bool:
        return name in self._times and len(self._times[name]) >= self._max_per_minute


def limit_answers(ask: Answerer, rate: RateLimit) -> Answerer:
    """An answerer that refuses questions beyond `rate`."""

    def ask_limited(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        rate.count(*CALLER.get())
        yield from ask(session, question, sampling, again, stopping)

    return ask_limited


class RequestRates:
    """Middleware that limits log-ins, and uploads, downloads, pages and API requests, which count as `events`, for each
    address.
    """

    def __init__(self, app: ASGIApp, events: RateLimit) -> None:
        self._app = app
        self._events = events
        self._logins = RateLimit(MAX_LOGINS, "log-ins")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate = self._rate(scope) if scope["type"] == "http" else None
        try:
            if rate is not None:
                rate.count(address_name(scope))
        except QuotaError as error:
            await refusal(429, str(error))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _rate(self, scope: Scope) -> RateLimit | None:
        path = route_of(scope)
        is_upload = scope["method"] == "POST" and path == UPLOAD
        if path in RENDERED or DOWNLOAD.match(path) or is_upload or is_program(scope):
            return self._events
        return self._logins if scope["method"] == "POST" and path == LOGIN else None


def limit_rates(events: RateLimit) -> Middleware:
    return Middleware(RequestRates, events=events)


def caller_names(session: str | None, scope: Scope) -> tuple[str, ...]:
    """A page and the address of its request, as names for the rate limits."""
    return f"page {session}", address_name(scope)


def address_name(scope: Scope) -> str:
    return f"address {client_of(scope)}"
