"""The server's log on standard error: one JSON object per line, whoever writes it, without what clients send.

Other packages put requests into their messages, tracebacks and prints. Of those, only the place in the code is logged.
"""

import io
import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from uvicorn import config

from longva_demo.telemetry import EVENTS

log = logging.getLogger(__name__)
OURS = "longva_demo"
MAX_FRAMES = 8  # innermost ones of a traceback


@contextmanager
def json_log() -> Iterator[None]:
    """Log in JSON during the `with` block."""
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(lambda record: record.name != "uvicorn.error" or record.levelno >= logging.ERROR)
    config.LOGGING_CONFIG |= {"handlers": {}, "loggers": {}}  # uvicorn's own
    logging.captureWarnings(True)
    previous, root.handlers = root.handlers, [handler]
    hook, threading.excepthook = threading.excepthook, log_thread_error
    try:
        yield
    finally:
        root.handlers, threading.excepthook = previous, hook


@contextmanager
def no_prints() -> Iterator[None]:
    """Let nobody print during the `with` block."""
    with redirect_stdout(Prints()), redirect_stderr(Prints()):
        yield


class JsonFormatter(logging.Formatter):
    """Events are JSON already. Of other messages, the constant part is kept if they are ours."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == EVENTS:
            return record.getMessage()
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": described(record) if record.name.startswith(OURS) else None,
            "at": [f"{Path(record.pathname).name}:{record.lineno}"],
        }
        if record.exc_info and record.exc_info[0] is not None:
            facts |= {"error": record.exc_info[0].__name__, "at": places(record.exc_info[2])}
        return json.dumps(facts, ensure_ascii=False)


def described(record: logging.LogRecord) -> str:
    """The message, in which errors are replaced by their type and texts are left out."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return str(record.msg) % tuple(described_argument(argument) for argument in arguments)


def described_argument(argument: object) -> object:
    if isinstance(argument, OSError):
        return argument.strerror or type(argument).__name__
    if isinstance(argument, Exception):
        return type(argument).__name__
    return argument if isinstance(argument, int | float) else "…"


def places(trace: TracebackType | None) -> list[str]:
    """File and line of each frame, outermost first."""
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]


def log_thread_error(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None:
        log.error("a thread failed", exc_info=failed.exc_value)


class Prints(io.TextIOBase):
    """In place of a standard stream: logs from where something was printed, once for each place."""

    def __init__(self) -> None:
        self._places: set[str] = set()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        caller = sys._getframe(1)
        place = f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
        if text.strip() and place not in self._places:
            self._places.add(place)
            log.warning("something was printed", stacklevel=2)
        return len(text)
