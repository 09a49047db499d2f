"""Printing: results to standard output, progress to standard error, whatever the terminal's encoding."""

import io
import json
import sys

from longva_demo.errors import one_line, replace_surrogates

CLEAR_LINE = "\r\033[K"


def replace_unprintable() -> None:
    """Print characters that the terminal's encoding lacks as "?" instead of raising.

    File names may contain any: Japanese on a Latin-1 terminal, or bytes that are not UTF-8, which Python holds as
    surrogates.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(**values: object) -> None:
    """Print one JSON object as UTF-8 whatever the terminal's encoding, since programs read it.

    Bytes of a file name that are not UTF-8 become U+FFFD: JSON cannot represent them.
    """
    write_json(values)


def print_json_list(values: list[dict[str, object]]) -> None:
    """The same for a list of objects."""
    write_json(values)


def write_json(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(replace_surrogates(text).encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def say(line: str) -> None:
    """Print a line on standard error, over an unfinished one. Control characters are removed."""
    line = one_line(line)
    print(f"{CLEAR_LINE}{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def say_progress(what: str, done: int, total: int, every: int = 0) -> None:
    """Print a counter that overwrites itself on a terminal; elsewhere a line at the end, and one per `every`."""
    line = f"{one_line(what)} {done:,} of {total:,}"
    if sys.stderr.isatty():
        print(f"{CLEAR_LINE}{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done == total or (every and done % every == 0):
        print(line, file=sys.stderr, flush=True)
