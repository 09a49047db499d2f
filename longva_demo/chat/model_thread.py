"""The thread on which the model runs."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from longva_demo.quotas import CLIENT, FairLock

T = TypeVar("T")

# Background work waits until the model has been idle for this long (an answer's tokens come closer together) ...
IDLE_SECONDS = 0.03
# ... but gets a step at least this often: on a busy server it is slow, and still finishes.
MAX_BACKGROUND_WAIT_SECONDS = 1.0
POLL_SECONDS = 0.005
BACKGROUND = "background"  # counts as one client


class ModelThread:
    """Runs one call at a time, all on one thread: of the client that has used the model least, in order of arrival.

    An ordinary lock would be unfair: a long prefill could take it again as soon as it is released, and make somebody's
    short follow-up question wait to the end. Also, PyTorch keeps scratch memory for each thread that ever computed
    (about 5 MB with the built-in model on a CPU), and requests come on more than a hundred threads.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._executor = ThreadPoolExecutor(1, "longva-model")
        self._turn = FairLock()
        self._lock = threading.Lock()
        self._num_users = 0  # foreground calls that run or wait
        self._used_at = 0.0

    def run(self, call: Callable[[], T]) -> T:
        """Wait for the model; return or raise what `call` does."""
        if self._process != os.getpid():  # forked, as on ZeroGPU: threads do not survive a fork
            self._start()
        with self._lock:
            self._num_users += 1
        try:
            with self._turn.hold(CLIENT.get()):
                return self._executor.submit(call).result()
        finally:
            with self._lock:
                self._num_users -= 1
                self._used_at = time.monotonic()

    def run_in_background(self, call: Callable[[], T]) -> T:
        """The same for one step of background work; call `wait_until_idle` first."""
        with self._turn.hold(BACKGROUND, comes_back=False):
            return self._executor.submit(call).result()

    def wait_until_idle(self, should_stop: Callable[[], bool]) -> bool:
        """Wait until nobody uses the model, at most MAX_BACKGROUND_WAIT_SECONDS. False once `should_stop()` is true."""
        started = time.monotonic()
        while not should_stop():
            now = time.monotonic()
            if now - started >= MAX_BACKGROUND_WAIT_SECONDS or self._is_idle(now):
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _is_idle(self, now: float) -> bool:
        with self._lock:
            return self._num_users == 0 and now - self._used_at >= IDLE_SECONDS
