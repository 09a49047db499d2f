"""Decoding in the background."""

import contextvars
import threading
from collections.abc import Generator
from contextlib import closing, suppress

from longva_demo.video import FrameBatch


class Prefetcher:
    """Runs one decoding at a time on a thread of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, batches: Generator[FrameBatch]) -> None:
        """Exhaust `batches`, unless `stop` is called. Whoever made them stores the frames and the error."""
        self._stopping = threading.Event()
        inherited = contextvars.copy_context()  # the client, for its quotas
        self._thread = threading.Thread(
            target=inherited.run, args=(exhaust, batches, self._stopping), daemon=True, name="longva-decode"
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the batches after the one that is being decoded. Does not wait."""
        self._stopping.set()


def exhaust(batches: Generator[FrameBatch], stopping: threading.Event) -> None:
    with closing(batches), suppress(Exception):
        for _batch in batches:
            if stopping.is_set():
                break
