"""What a page has read of its video's words. Pages share none of it."""

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from longva_demo.page.transcript import Value
from longva_demo.quotas import Holding, Quotas
from longva_demo.timed_text import Collected, Line, Update, installed_sources
from longva_demo.timed_text.search import LineIndex

LINE_BYTES = 300  # of a line's objects, beside its text


class Lines:
    """Lines, with an index that is made when it is first searched."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)

    @cached_property
    def index(self) -> LineIndex:
        return LineIndex(self.lines)

    @property
    def num_bytes(self) -> int:
        """About what they take in memory, with their index."""
        return sum(LINE_BYTES + 8 * len(line.text) for line in self.lines)


@dataclass
class WordsState:
    """The lines of one video, and what is being read.

    path: the video that they are from.
    attached: a subtitle file that the visitor gave.
    asked_at: of the newest reading, in ms on the browser's clock.
    """

    client: str
    quotas: Quotas
    path: Path | None = None
    attached: Path | None = None
    asked_at: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    running: str = ""
    done: float = 0.0
    total: float = 0.0
    is_used: bool = True  # whether fitting lines are given to the model

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the lines, and end a reading."""
        self.stop.set()
        self.stop = threading.Event()
        self.found, self.lines = Collected(), Lines([])
        self.held = Holding(self.quotas.page_bytes, self.client)
        self.running = ""
        if self.attached is not None:
            shutil.rmtree(self.attached.parent, ignore_errors=True)
        self.attached = None

    def show(self, path: Path) -> None:
        """Lines are those of the video `path` from now on."""
        if path != self.path:
            self.clear()
            self.path = path

    def add(self, update: Update) -> None:
        """
        Raises:
            QuotaError: the lines of all pages take too much memory.
        """
        self.found.add(update)
        self.running = "" if update.is_complete else update.source
        self.done, self.total = update.done, update.total
        lines = Lines(self.found.lines)
        if lines.lines != self.lines.lines:
            self.held.add(lines.num_bytes - self.lines.num_bytes)
            self.lines = lines

    @property
    def value(self) -> Value:
        """For the panel. Each line is [start, end, text, source]."""
        return {
            "at": time.monotonic(),
            "asked_at": self.asked_at,
            "lines": [
                [round(line.start, 3), round(line.end, 3), line.text, line.source] for line in self.lines.lines
            ],
            "running": self.running,
            "done": self.done,
            "total": self.total,
            "notes": self.found.notes,
            "available": installed_sources()[0],
        }
