"""What the commands print: results on standard output, progress on standard error, whatever letters a terminal has."""

import io
import json
import sys

from longva_demo.errors import one_line, whole_letters

CLEAR_LINE = "\r\033[K"


def accept_all_letters() -> None:
    """Print letters that the terminal's encoding lacks as "?", in place of a traceback.

    A file's name may have any: Japanese ones on a Latin-1 terminal, or bytes that are not UTF-8, which Python holds
    as surrogates.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(**values: object) -> None:
    """One JSON object, in UTF-8 whatever the terminal's encoding, since programs read it.

    Bytes of a name that are not UTF-8 are U+FFFD in it, as JSON has no form for them.
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(whole_letters(text).encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def say(line: str) -> None:
    """A line on standard error, in place of an unfinished one; what is in a file must not steer the terminal."""
    line = one_line(line)
    print(f"{CLEAR_LINE}{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def say_progress(what: str, done: int, total: int, every: int = 0) -> None:
    """A counter that overwrites itself on a terminal; elsewhere a line when it is complete, and `every` so many."""
    line = f"{one_line(what)} {done:,} of {total:,}"
    if sys.stderr.isatty():
        print(f"{CLEAR_LINE}{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done == total or (every and done % every == 0):
        print(line, file=sys.stderr, flush=True)
