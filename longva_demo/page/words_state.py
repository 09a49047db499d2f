"""What a page has read of its video's words. Pages share none of it."""

import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from longva_demo.chat.lines import ChatLines
from longva_demo.folders import temporary_folder
from longva_demo.page.transcript import Value
from longva_demo.quotas import Holding, Quotas
from longva_demo.timed_text import Collected, Line, Update, installed_sources
from longva_demo.timed_text.packages import is_installed

LINE_BYTES, LETTER_BYTES = 300, 8  # of memory, with the index
MAX_FOUND = 3  # lines below a refusal


@dataclass
class WordsState:
    """The lines of one video, and what is being read of it.

    gives: whether the model is given lines that fit a question; None if it cannot read them.
    path: the video. attached: a subtitle file that the visitor gave for it. asked_at: of the newest reading, in ms on
    the browser's clock.
    """

    client: str
    quotas: Quotas
    gives: bool | None
    path: Path | None = None
    attached: Path | None = None
    asked_at: float = 0.0
    subtitles_lock: threading.Lock = field(default_factory=threading.Lock)  # while they are read for a question
    stop: threading.Event = field(default_factory=threading.Event)
    running: str = ""
    done: float = 0.0
    total: float = 0.0
    found: Collected = field(default_factory=Collected)
    lines: ChatLines = field(default_factory=lambda: ChatLines([]))

    def __post_init__(self) -> None:
        self.held = Holding(self.quotas.page_bytes, self.client)

    def show(self, path: Path) -> None:
        """The lines are those of this video from now on."""
        if path == self.path:
            return
        self.close()
        self.path, self.found, self.lines = path, Collected(), ChatLines([])
        self.held = Holding(self.quotas.page_bytes, self.client)

    def has_subtitles(self, path: Path) -> bool:
        """Whether the subtitles of this video were read, if it has any."""
        return path == self.path and "subtitles" in self.found.lines_by_source

    def given(self, path: str) -> ChatLines | None:
        """The lines for the model, with a question about this video."""
        return self.lines if self.gives and self._can_search(path) else None

    def best(self, question: str, path: str) -> tuple[Line, ...]:
        """The lines of this video that fit a question best, in place of an answer."""
        if not self._can_search(path):
            return ()
        return tuple(self.lines.lines[position] for position in self.lines.index.best(question)[:MAX_FOUND])

    def _can_search(self, path: str) -> bool:
        return path == str(self.path) and bool(self.lines.lines) and is_installed("search")

    def attached_to(self, path: Path) -> Path | None:
        return self.attached if path == self.path else None

    def attach(self, data: bytes, name: str) -> None:
        """Keep a subtitle file under this name; raises DemoError if it cannot be written."""
        self._detach()
        self.attached = temporary_folder("subtitles") / name
        self.attached.write_bytes(data)

    def start(self, source: str, asked_at: float) -> threading.Event:
        """A reading begins, and ends the one before. Returns what tells it to stop."""
        self.stop.set()
        self.stop = threading.Event()
        self.asked_at = asked_at
        self.running, self.done, self.total = source, 0.0, 0.0
        return self.stop

    def add(self, update: Update) -> None:
        """Raises QuotaError if the lines of all pages take too much memory; the update is then not kept."""
        found = Collected(dict(self.found.lines_by_source), dict(self.found.notes_by_source))
        found.add(update)
        lines = found.lines
        if lines != self.lines.lines:
            self.held.add(num_bytes(lines) - num_bytes(self.lines.lines))
            self.lines = ChatLines(lines)
        self.found = found
        self.running = "" if update.is_complete else update.source
        self.done, self.total = update.done, update.total

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
            "gives": self.gives,
        }


def num_bytes(lines: Iterable[Line]) -> int:
    return sum(LINE_BYTES + LETTER_BYTES * len(line.text) for line in lines)
