"""Lines as files: SubRip, WebVTT, plain text and JSON."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

from longva_demo.errors import DemoError
from longva_demo.timed_text.line import Line, clean_text, in_order
from longva_demo.times import format_time

FORMATS = ("srt", "vtt", "txt")


def write_lines(lines: Sequence[Line], kind: str) -> str:
    """The text of a file. `kind` is of FORMATS, or json.

    Nothing in a line can end its cue or start another: a line has no line break, and arrows are replaced.
    """
    if kind == "json":
        return json.dumps([line.to_dict() for line in lines], ensure_ascii=False, indent=1) + "\n"
    if kind == "txt":
        return "".join(f"{format_time(line.start)}  {line.text}\n" for line in lines)
    cues = [cue(number, line, kind) for number, line in enumerate(lines, 1)]
    return "\n".join((["WEBVTT\n"] if kind == "vtt" else []) + cues)


def read_json(path: Path) -> list[Line]:
    """The lines that `write_lines` or `longva-demo words --json` has written.

    Raises:
        DemoError: the file cannot be read, or is something else.
    """
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
        lines = [Line(float(v["start"]), float(v["end"]), clean_text(v["text"]), v["source"]) for v in values]
    except OSError as error:
        raise DemoError(f"{path.name} cannot be read ({error.strerror})", "check the path") from None
    except (ValueError, TypeError, KeyError, AssertionError, RecursionError):
        raise DemoError(f"{path.name} is not a list of lines", "use the output of longva-demo words --json") from None
    return in_order(line for line in lines if line.text)


def cue(number: int, line: Line, kind: str) -> str:
    text = line.text
    if "-->" in text:  # a parser would take times in it for those of another cue
        text = text.replace("-->", "\u2192").replace(":", "\u2236")
    if kind == "vtt":
        text = html.escape(text, quote=False)
    mark = "." if kind == "vtt" else ","
    return f"{number}\n{timestamp(line.start, mark)} --> {timestamp(line.end, mark)}\n{text}\n"


def timestamp(seconds: float, mark: str) -> str:
    """
    >>> timestamp(3723.5, ",")
    '01:02:03,500'
    """
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{mark}{milliseconds:03}"
