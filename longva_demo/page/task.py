"""Work of a page beside its chat: a search, chapters, the needle test."""

import math
import threading
from dataclasses import dataclass, field


@dataclass
class PageTask:
    """One kind of such work. A new start ends the running one.

    asked_at: when the newest was started, in ms on the browser's clock.
    """

    asked_at: float = 0.0
    stop_requested: threading.Event = field(default_factory=threading.Event)

    def start(self, asked_at: float) -> threading.Event:
        """Returns the event that ends it."""
        self.stop()
        self.asked_at, self.stop_requested = asked_at, threading.Event()
        return self.stop_requested

    def stop(self, asked_at: float = math.inf) -> None:
        """End it, unless it was started after `asked_at`."""
        if asked_at >= self.asked_at:
            self.stop_requested.set()
