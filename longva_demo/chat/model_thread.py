"""The thread on which the model calculates."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


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

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises, once it was its turn."""
        if self._process != os.getpid():  # forked, as on ZeroGPU: threads stay behind
            self._begin()
        return self._executor.submit(call).result()
