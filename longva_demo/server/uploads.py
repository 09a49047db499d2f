"""Uploaded files: deleted when they are old, or when all that is kept takes too much room, but never while in use."""

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longva_demo.folders import own_files
from longva_demo.telemetry import EventLog

log = logging.getLogger(__name__)
MAX_AGE_SECONDS = 24 * 3600.0


def uploaded_files(app: gr.Blocks) -> set[Path]:
    """What was uploaded to this app, or copied by it; not the files of its own components."""
    own = {file for block in app.blocks.values() for file in getattr(block, "keep_in_cache", ())}
    return {Path(file) for files in app.temp_file_sets for file in tuple(files) if file not in own}


class Ages:
    """How long each file has been known, on a clock that no one can set: a jump of the date deletes nothing."""

    def __init__(self) -> None:
        self._since: dict[tuple[Path, int], float] = {}  # a file that comes again has another time of change

    def of(self, files: set[Path]) -> dict[Path, float]:
        """Seconds since each was first asked about here; 0 for a new one. Files that are gone are left out."""
        now, there = time.monotonic(), {}
        for file in files:
            with contextlib.suppress(OSError):
                there[file, file.stat().st_mtime_ns] = now
        self._since = {key: self._since.get(key, now) for key in there}
        return {file: now - since for (file, _), since in self._since.items()}


def delete_uploads(ages: dict[Path, float], in_use: set[Path], max_age_seconds: float, max_bytes: int) -> list[Path]:
    """Delete those older than `max_age_seconds`, then the oldest until all take at most `max_bytes`.

    What is `in_use` stays, and counts. Returns what was deleted.
    """
    facts = []
    for file, age in ages.items():
        with contextlib.suppress(OSError):  # already gone
            facts.append((age, file.stat().st_size, file))
    total = sum(size for _, size, _ in facts)
    deleted = []
    for age, size, file in sorted(facts, reverse=True):
        if file in in_use or not (age > max_age_seconds or total > max_bytes):
            continue
        try:
            file.unlink()
        except OSError as error:
            log.warning("an old upload could not be deleted: %s", error)
            continue
        total -= size
        deleted.append(file)
    return deleted


class FilesInUse:
    """Files that somebody works with, for as long as a `with` block lasts."""

    def __init__(self) -> None:
        self._users: Counter[Path] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def using(self, file: Path) -> Iterator[None]:
        with self._lock:
            self._users[file] += 1
        try:
            yield
        finally:
            with self._lock:
                self._users[file] -= 1

    def __call__(self) -> set[Path]:
        with self._lock:
            self._users = +self._users  # those with a user
            return set(self._users)


class Uploads:
    """What was uploaded, under a bound for it and all else that this process keeps: frames, previews."""

    def __init__(self, uploaded: Callable[[], set[Path]], in_use: Callable[[], set[Path]], max_bytes: int) -> None:
        self._uploaded = uploaded
        self._in_use = in_use
        self._max_bytes = max_bytes
        self._ages = Ages()
        self._lock = threading.Lock()

    def tidy(self) -> None:
        """Delete what is too old or too much."""
        self.make_room(0)

    def make_room(self, num_bytes: int) -> int:
        """Delete what is too old, and the oldest until `num_bytes` more fit; returns how many bytes do."""
        with self._lock:
            files = self._uploaded()
            room = self._max_bytes - size_of(own_files() - files)
            delete_uploads(self._ages.of(files), self._in_use(), MAX_AGE_SECONDS, room - num_bytes)
            return room - size_of(files)


def size_of(files: set[Path]) -> int:
    """Bytes of those that are there."""
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def log_uploads(events: EventLog) -> Middleware:
    return Middleware(UploadLog, events=events)


class UploadLog:
    """Middleware that tells of each upload how it ended; around those that refuse some."""

    def __init__(self, app: ASGIApp, events: EventLog) -> None:
        self._app = app
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        num_bytes = int(length) if length.isdigit() else None
        with self._events.event("upload", bytes=num_bytes, status=None) as this:
            this.outcome = "left"  # unless it is answered

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = this.facts["status"] = message["status"]
                    this.outcome = "done" if status < 400 else "refused" if status < 500 else "failed"
                await send(message)

            await self._app(scope, receive, noted)
