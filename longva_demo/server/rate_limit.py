"""How much may be asked for in a minute, by one page and from one address: questions, events of all kinds, log-ins."""

import math
import threading
import time
from collections import defaultdict, deque
from contextvars import ContextVar

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from longva_demo.chat import ChatSession, Sampling
from longva_demo.chat.answering import Answerer, Events
from longva_demo.errors import DemoError
from longva_demo.server.upload_limits import refusal

SECONDS = 60.0
MAX_LOGINS = 30  # in a minute, from one address
# Who asks, by all names that count: the page and its address. Set where an event comes in; threads inherit it.
CALLER: ContextVar[tuple[str, ...]] = ContextVar("CALLER", default=())


class RateLimit:
    """Counts `what` came in the last minute, such as "questions", for each of any names."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._asked: dict[str, deque[float]] = defaultdict(deque)
        self._guard = threading.Lock()

    def count(self, *names: str) -> None:
        """One more, which counts for each of `names`.

        Raises:
            DemoError: one of them has had its most; nothing is counted then.
        """
        now = time.monotonic()
        with self._guard:
            for name in tuple(self._asked):
                while self._asked[name] and now - self._asked[name][0] >= SECONDS:
                    self._asked[name].popleft()
                if not self._asked[name]:
                    del self._asked[name]
            wait = max((SECONDS - now + self._asked[name][0] for name in names if self._is_full(name)), default=0.0)
            if wait:
                limit = f"the limit here is {self._most:,} {self._what} a minute, and it is reached"
                raise DemoError(limit, f"wait {math.ceil(wait)} seconds and try again")
            for name in names:
                self._asked[name].append(now)

    def _is_full(self, name: str) -> bool:
        return name in self._asked and len(self._asked[name]) >= self._most


def limit_answers(ask: Answerer, rate: RateLimit) -> Answerer:
    """An answerer that refuses a caller who asked too much in the last minute."""

    def ask_limited(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        rate.count(*CALLER.get())
        yield from ask(session, question, sampling, again, stopping)

    return ask_limited


class PostLimits:
    """Middleware that refuses an address too many uploads, which count as `events`, and too many log-ins."""

    def __init__(self, app: ASGIApp, events: RateLimit) -> None:
        self._app = app
        self._rates = {"/upload": events, "/login": RateLimit(MAX_LOGINS, "log-ins")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"].rstrip("/")
            try:
                for end, rate in self._rates.items():
                    if path.endswith(end):
                        rate.count(address_name(scope))
            except DemoError as error:
                await refusal(429, str(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def limit_posts(events: RateLimit) -> Middleware:
    return Middleware(PostLimits, events=events)


def address_name(scope: Scope) -> str:
    """The address that a request comes from, as a name to count for."""
    client = scope.get("client")
    return f"address {client[0] if client else ''}"
