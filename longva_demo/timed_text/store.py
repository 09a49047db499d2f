"""Complete results on disk, by the file's hash: recognising speech or text takes minutes, so it is done once."""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from longva_demo.errors import DemoError
from longva_demo.timed_text.formats import read_json, write_lines
from longva_demo.timed_text.line import Line

MAX_FILES = 500  # the oldest ones are deleted


def user_folder() -> Path:
    """Where programs of this user keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longva-demo" / "words"


class LineStore:
    """A folder of results. What it cannot read or write is as if it were not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Sequence[object]) -> list[Line] | None:
        file = self._file(key)
        try:
            lines = read_json(file)
            os.utime(file)
        except (DemoError, OSError):
            return None
        return lines

    def put(self, key: Sequence[object], lines: Sequence[Line]) -> None:
        file = self._file(key)
        partial = file.with_name(f"{file.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial.write_text(write_lines(lines, "json"), "utf-8")
            partial.replace(file)
            newest_last = sorted(self._folder.glob("*.json"), key=lambda one: one.stat().st_mtime)
            for old in newest_last[:-MAX_FILES]:
                old.unlink()

    def _file(self, key: Sequence[object]) -> Path:
        """Named by a hash of the key: JSON values, the file's SHA-256 first."""
        return self._folder / f"{hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()}.json"
