"""The thread on which the model calculates."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# What can wait gives way until nobody has used the model for so long (an answer's tokens come closer together), ...
QUIET_SECONDS = 0.03
# ... but has a step at least this often: on a busy server it is slow, and still comes to its end.
PATIENCE_SECONDS = 1.0
SECONDS_BETWEEN_LOOKS = 0.005


class ModelThread:
    """Runs one call at a time, all on one thread, in the order of arrival.

    With a lock instead, a long reading could take it again as soon as it is released, and keep a short follow-up
    question of somebody else waiting to its end. And for each thread that ever calculated, PyTorch keeps scratch
    memory (about 5 MB with the built-in model on a CPU), where requests come on more than a hundred.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._executor = ThreadPoolExecutor(1, "longva-model")
        self._guard = threading.Lock()
        self._num_users = 0  # who calculate or wait for it, those in the background left out
        self._used_at = 0.0

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises, once it was its turn."""
        if self._process != os.getpid():  # forked, as on ZeroGPU: threads stay behind
            self._begin()
        with self._guard:
            self._num_users += 1
        try:
            return self._executor.submit(call).result()
        finally:
            with self._guard:
                self._num_users -= 1
                self._used_at = time.monotonic()

    def run_in_background(self, call: Callable[[], T]) -> T:
        """The same for a step of what can wait: nobody gives way to it. Call `give_way` before."""
        return self._executor.submit(call).result()

    def give_way(self, should_stop: Callable[[], bool]) -> bool:
        """Wait until others leave the model alone; False once `should_stop()` is true."""
        came = time.monotonic()
        while not should_stop():
            now = time.monotonic()
            if now - came >= PATIENCE_SECONDS or self._is_quiet(now):
                return True
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return False

    def _is_quiet(self, now: float) -> bool:
        with self._guard:
            return self._num_users == 0 and now - self._used_at >= QUIET_SECONDS
