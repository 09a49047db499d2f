"""Whose turn it is at the model."""

import threading
from collections import deque
from types import TracebackType


class Turnstile:
    """A lock that serves in the order of arrival.

    A plain lock may be taken again by the thread that has just released it: a long reading would then keep a short
    follow-up question of somebody else waiting to its end.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            called = threading.Event()
            self._waiting.append(called)
        called.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()  # handed on: it stays taken
            else:
                self._taken = False
