"""Uploaded files: deleted when they are old, or when all of them take too much room, but never under an open page."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr

log = logging.getLogger(__name__)
MOST_AGE_SECONDS = 24 * 3600.0
SECONDS_BETWEEN = 600.0


def uploaded_files(app: gr.Blocks) -> set[Path]:
    """What was uploaded to this app, or copied by it; not the files of its own components."""
    own = {file for block in app.blocks.values() for file in getattr(block, "keep_in_cache", ())}
    return {Path(file) for files in app.temp_file_sets for file in tuple(files) if file not in own}


def delete_uploads(files: set[Path], in_use: set[Path], most_age_seconds: float, most_bytes: int) -> list[Path]:
    """Delete those older than `most_age_seconds`, then the oldest until all take at most `most_bytes`.

    What is `in_use` stays, and counts. Returns what was deleted.
    """
    facts = []
    for file in files:
        try:
            facts.append((file.stat().st_mtime, file.stat().st_size, file))
        except OSError:  # already gone
            continue
    total = sum(size for _, size, _ in facts)
    deleted = []
    for modified, size, file in sorted(facts):
        if file in in_use or not (time.time() - modified > most_age_seconds or total > most_bytes):
            continue
        try:
            file.unlink()
        except OSError as error:
            log.warning("an old upload could not be deleted: %s", error)
            continue
        total -= size
        deleted.append(file)
    return deleted


def watch_uploads(app: gr.Blocks, in_use: Callable[[], set[Path]], most_bytes: int) -> threading.Event:
    """Look every few minutes, in a thread that ends with the process, or once the event that is returned is set."""
    ending = threading.Event()

    def look() -> None:
        while not ending.wait(SECONDS_BETWEEN):
            delete_uploads(uploaded_files(app), in_use(), MOST_AGE_SECONDS, most_bytes)

    threading.Thread(target=look, name="uploads", daemon=True).start()
    return ending
