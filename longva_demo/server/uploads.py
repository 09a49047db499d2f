"""Uploaded files. They are deleted when they are old, or when the storage is full, but never while in use."""

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
from longva_demo.server.bodies import UPLOAD, announced_bytes
from longva_demo.server.requests import route_of
from longva_demo.telemetry import EventLog

log = logging.getLogger(__name__)
MAX_AGE_SECONDS = 24 * 3600.0
FOLDER_BYTES = 4096  # each upload has a folder of its own


def uploaded_files(app: gr.Blocks) -> set[Path]:
    """Files that were uploaded to this app or copied by it, without those of its own components."""
    own = {file for block in app.blocks.values() for file in getattr(block, "keep_in_cache", ())}
    return {Path(file) for files in app.temp_file_sets for file in tuple(files) if file not in own}


class Ages:
    """The age of each file on a monotonic clock, so that a change of the system's date deletes nothing."""

    def __init__(self) -> None:
        self._since: dict[tuple[Path, int], float] = {}  # by path and mtime, as a file may be uploaded again

    def of(self, files: set[Path]) -> dict[Path, float]:
        """Seconds since the first call with each file, 0 for a new one. Missing files are left out."""
        now, present = time.monotonic(), []
        for file in files:
            with contextlib.suppress(OSError):
                present.append((file, file.stat().st_mtime_ns))
        self._since = {key: self._since.get(key, now) for key in present}
        return {file: now - since for (file, _), since in self._since.items()}


def delete_uploads(ages: dict[Path, float], in_use: set[Path], max_age_seconds: float, max_bytes: int) -> list[Path]:
    """Delete files older than `max_age_seconds`, then the oldest until all together have at most `max_bytes`.

    Files `in_use` count but stay. A folder that becomes empty is deleted too. Returns the deleted files.
    """
    facts = []
    for file, age in ages.items():
        with contextlib.suppress(OSError):  # already gone
            facts.append((age, stored_bytes(file), file))
    total = sum(size for _, size, _ in facts)
    deleted = []
    for age, size, file in sorted(facts, reverse=True):
        if file in in_use or not (age > max_age_seconds or total > max_bytes):
            continue
        try:
            file.unlink()
        except OSError as error:
            log.warning("cannot delete an old upload: %s", error)
            continue
        with contextlib.suppress(OSError):  # not empty
            file.parent.rmdir()
        total -= size
        deleted.append(file)
    return deleted


class FilesInUse:
    """Files that are in use during a `with` block."""

    def __init__(self) -> None:
        self._users: Counter[Path] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def using(self, *files: Path) -> Iterator[None]:
        with self._lock:
            self._users.update(files)
        try:
            yield
        finally:
            with self._lock:
                self._users.subtract(files)

    def __call__(self) -> set[Path]:
        with self._lock:
            self._users = +self._users  # those with a user
            return set(self._users)


class Uploads:
    """Uploads, under a limit that also counts the frames and previews that this process stores."""

    def __init__(self, uploaded: Callable[[], set[Path]], in_use: Callable[[], set[Path]], max_bytes: int) -> None:
        self._uploaded = uploaded
        self._in_use = in_use
        self._max_bytes = max_bytes
        self._ages = Ages()
        self._lock = threading.Lock()

    def clean_up(self) -> None:
        """Delete files that are too old or exceed the limit."""
        self.free_space(0)

    def could_fit(self, num_bytes: int) -> bool:
        """Whether `num_bytes` more would fit without the files that are not in use."""
        files = self._uploaded()
        return size_of(own_files() - files) + size_of(files & self._in_use()) + num_bytes <= self._max_bytes

    def free_space(self, num_bytes: int) -> int:
        """Delete files that are too old, and the oldest until `num_bytes` more fit. Returns how many bytes fit."""
        with self._lock:
            files = self._uploaded()
            space = self._max_bytes - size_of(own_files() - files)
            delete_uploads(self._ages.of(files), self._in_use(), MAX_AGE_SECONDS, space - num_bytes)
            return space - size_of(files)


def size_of(files: set[Path]) -> int:
    """Bytes that the existing ones of these files take."""
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += stored_bytes(file)
    return total


def stored_bytes(file: Path) -> int:
    """Bytes that a file takes with its folder: more than its size, if that is small."""
    facts = file.stat()
    return max(facts.st_size, 512 * facts.st_blocks) + FOLDER_BYTES


def log_uploads(events: EventLog) -> Middleware:
    return Middleware(UploadLog, events=events)


class UploadLog:
    """Middleware that logs the outcome of each upload. It wraps the middlewares that refuse uploads."""

    def __init__(self, app: ASGIApp, events: EventLog) -> None:
        self._app = app
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if route_of(scope) != UPLOAD or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with self._events.event("upload", bytes=announced_bytes(scope) or None, status=None) as event:
            event.outcome = "disconnected"  # unless there is a response

            async def send_and_log(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = event.facts["status"] = message["status"]
                    event.outcome = "done" if status < 400 else "refused" if status < 500 else "failed"
                await send(message)

            await self._app(scope, receive, send_and_log)
