"""Uploaded files: deleted when they are old, or when all of them take too much room, but never under an open page."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr

log = logging.getLogger(__name__)
MOST_AGE_SECONDS = 24 * 3600.0


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


def delete_uploads(ages: dict[Path, float], in_use: set[Path], most_age_seconds: float, most_bytes: int) -> list[Path]:
    """Delete those older than `most_age_seconds`, then the oldest until all take at most `most_bytes`.

    What is `in_use` stays, and counts. Returns what was deleted.
    """
    facts = []
    for file, age in ages.items():
        with contextlib.suppress(OSError):  # already gone
            facts.append((age, file.stat().st_size, file))
    total = sum(size for _, size, _ in facts)
    deleted = []
    for age, size, file in sorted(facts, reverse=True):
        if file in in_use or not (age > most_age_seconds or total > most_bytes):
            continue
        try:
            file.unlink()
        except OSError as error:
            log.warning("an old upload could not be deleted: %s", error)
            continue
        total -= size
        deleted.append(file)
    return deleted


class Uploads:
    """All that was uploaded to `app`, under a bound."""

    def __init__(self, app: gr.Blocks, in_use: Callable[[], set[Path]], most_bytes: int) -> None:
        self._app = app
        self._in_use = in_use
        self._most_bytes = most_bytes
        self._ages = Ages()

    def tidy(self) -> None:
        """Delete what is too old or too much."""
        ages = self._ages.of(uploaded_files(self._app))
        delete_uploads(ages, self._in_use(), MOST_AGE_SECONDS, self._most_bytes)
