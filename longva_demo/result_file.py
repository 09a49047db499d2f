"""The results of a long run as JSON lines: a stopped run loses nothing, and the same command resumes it."""

import json
import os
from pathlib import Path
from typing import Any

from longva_demo.errors import DemoError

REMEDY = "choose another --out, or delete the file"


class ResultFile:
    """A line that describes the run (`head`), then one line per result (`rows`). An existing file is resumed.

    Raises:
        DemoError: the file is from a different run or damaged, or the folder is not writable.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._head: dict[str, Any] = json.loads(json.dumps(head))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._read()
            else:
                self._append(self._head)
        except OSError as error:
            raise DemoError(f"cannot write {path} ({error.strerror or error})", "choose another --out") from error

    def add(self, row: dict[str, Any]) -> None:
        """Save a result. It is on disk when this returns."""
        self.rows.append(row)
        try:
            self._append(row)
        except OSError as error:
            raise DemoError(f"cannot write {self.path} ({error.strerror or error})", "free some space") from error

    def _append(self, values: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        """Read the file. An incomplete last line, from a run that was killed, is removed."""
        text = self.path.read_bytes()
        complete = text[: text.rfind(b"\n") + 1]
        self.rows = parse_rows(self.path, complete, self._head)
        if complete != text:
            os.truncate(self.path, len(complete))
        if not complete:
            self._append(self._head)


def read_rows(path: Path, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The results in a file that another process may be writing.

    Raises:
        DemoError: the file is from a different run or damaged.
    """
    text = path.read_bytes()
    return parse_rows(path, text[: text.rfind(b"\n") + 1], json.loads(json.dumps(head)))


def parse_rows(path: Path, complete: bytes, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The results in `complete` lines of a file that has to start with `head`."""
    try:
        first, *rows = [json.loads(line) for line in complete.splitlines()] or [head]
        differing = sorted(name for name in {*first, *head} if first.get(name) != head.get(name))
    except (ValueError, TypeError, AttributeError) as error:
        raise DemoError(f"{path} is damaged ({error})", REMEDY) from error
    if differing:
        raise DemoError(f"{path} is from a different run (differs in {', '.join(differing)})", REMEDY)
    return rows
