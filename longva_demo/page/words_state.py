"""What a page has read of its video's words. Pages share none of it."""

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from longva_demo.folders import temporary_folder
from longva_demo.page.transcript import Value
from longva_demo.quotas import Holding, Quotas
from longva_demo.timed_text import Collected, Line, Update, installed_sources
from longva_demo.timed_text.search import LineIndex

LINE_BYTES, LETTER_BYTES = 300, 8  # of memory, with the index


class Lines:
    """Lines, with an index that is made when they are first searched."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)

    @cached_property
    def index(self) -> LineIndex:
        return LineIndex(self.lines)

    @property
    def num_bytes(self) -> int:
        return sum(LINE_BYTES + LETTER_BYTES * len(line.text) for line in self.lines)


@dataclass
class WordsState:
    """The lines of one video, and what is being read of it.

    path: the video. attached: a subtitle file that the visitor gave for it. asked_at: of the newest reading, in ms on
    the browser's clock.
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
    found: Collected = field(default_factory=Collected)
    lines: Lines = field(default_factory=lambda: Lines([]))

    def __post_init__(self) -> None:
        self.held = Holding(self.quotas.page_bytes, self.client)

    def show(self, path: Path) -> None:
        """The lines are those of this video from now on."""
        if path == self.path:
            return
        self.close()
        self.path, self.found, self.lines = path, Collected(), Lines([])
        self.held = Holding(self.quotas.page_bytes, self.client)

    def attached_to(self, path: Path) -> Path | None:
        return self.attached if path == self.path else None

    def attach(self, data: bytes) -> None:
        """Keep a subtitle file; raises DemoError if it cannot be written."""
        self._detach()
        self.attached = temporary_folder("subtitles") / "subtitles"
        self.attached.write_bytes(data)

    def start(self, source: str, asked_at: float) -> threading.Event:
        """A reading begins, and ends the one before. Returns what tells it to stop."""
        self.stop.set()
        self.stop = threading.Event()
        self.asked_at = asked_at
        self.running, self.done, self.total = source, 0.0, 0.0
        return self.stop

    def add(self, update: Update) -> None:
        """Raises QuotaError if the lines of all pages take too much memory."""
        self.found.add(update)
        self.running = "" if update.is_complete else update.source
        self.done, self.total = update.done, update.total
        lines = Lines(self.found.lines)
        if lines.lines != self.lines.lines:
            self.held.add(lines.num_bytes - self.lines.num_bytes)
            self.lines = lines

    def finish(self, stop: threading.Event) -> None:
        """The reading that `stop` belongs to has ended."""
        if stop is self.stop:
            self.running = ""

    def close(self) -> None:
        """End a reading, and delete the attached file."""
        self.stop.set()
        self.running = ""
        self._detach()

    def _detach(self) -> None:
        if self.attached is not None:
            shutil.rmtree(self.attached.parent, ignore_errors=True)
        self.attached = None

    @property
    def value(self) -> Value:
        """For the panel. Each line is [start, end, text, source]."""
        lines = [[round(line.start, 3), round(line.end, 3), line.text, line.source] for line in self.lines.lines]
        return {
            "at": time.monotonic(),
            "asked_at": self.asked_at,
            "lines": lines,
            "running": self.running,
            "done": self.done,
            "total": self.total,
            "notes": self.found.notes,
            "available": installed_sources()[0],
        }
