"""How many questions may be asked in a minute, by one page and from one address."""

import threading
import time
from collections import defaultdict, deque
from contextvars import ContextVar

from longva_demo.chat import ChatSession, Sampling
from longva_demo.errors import DemoError
from longva_demo.ui.asking import Asker, Events

SECONDS = 60.0
# Who asks, by all names that count: the page and its address. Set where an event comes in; threads inherit it.
CALLER: ContextVar[tuple[str, ...]] = ContextVar("CALLER", default=())


class Rate:
    """Counts what was asked in the last minute, for each of any names."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: dict[str, deque[float]] = defaultdict(deque)
        self._guard = threading.Lock()

    def count(self, *names: str) -> None:
        """One more question, which counts for each of `names`.

        Raises:
            DemoError: one of them has asked its most; nothing is counted then.
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
                remedy = f"wait {wait:.0f} seconds and ask again"
                raise DemoError(f"the limit here is {self._most} a minute, and it is reached", remedy)
            for name in names:
                self._asked[name].append(now)

    def _is_full(self, name: str) -> bool:
        return name in self._asked and len(self._asked[name]) >= self._most


def at_a_rate(ask: Asker, rate: Rate) -> Asker:
    """An asker that refuses a caller who asked too much in the last minute."""

    def ask_at_a_rate(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        rate.count(*CALLER.get())
        yield from ask(session, question, sampling, again, stopping)

    return ask_at_a_rate
