"""Ranges and chapters as files: CSV for a table, WebVTT for a player's chapters."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from longva_demo.errors import one_line
from longva_demo.moments.chapters import Chapter
from longva_demo.moments.curve import Range
from longva_demo.times import format_time

VTT_HEAD = "WEBVTT\n"


def ranges_csv(ranges: Sequence[Range]) -> str:
    """A line of names and one line per range; times in seconds."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["start", "end", "score", "best"])
    table.writerows([f"{number:.3f}" for number in (one.start, one.end, one.score, one.best)] for one in ranges)
    return text.getvalue()


def ranges_vtt(ranges: Sequence[Range], query: str) -> str:
    """One cue per range, with the query as its text."""
    return vtt((one.start, one.end, query) for one in ranges)


def chapters_vtt(chapters: Sequence[Chapter]) -> str:
    return vtt((one.start, one.end, one.title) for one in chapters)


def chapters_markdown(chapters: Sequence[Chapter]) -> str:
    """A list with the time before each title, as video sites read it. Markup in a title stays text."""
    escaped = (re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", one.title) for one in chapters)
    return "".join(f"- {format_time(one.start)} {title}\n" for one, title in zip(chapters, escaped, strict=True))


def vtt(cues: Iterable[tuple[float, float, str]]) -> str:
    """WebVTT of (start, end, text) in seconds. The text is one line, and none of it is markup.

    >>> print(vtt([(3725.5, 3727.0, "a <b> star")]), end="")
    WEBVTT
    <BLANKLINE>
    01:02:05.500 --> 01:02:07.000
    a &lt;b&gt; star
    """
    lines = [VTT_HEAD]
    for start, end, text in cues:
        escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        lines.append(f"{timestamp(start)} --> {timestamp(end)}\n{escaped}\n")
    return "\n".join(lines)


def timestamp(seconds: float) -> str:
    """
    >>> timestamp(59.9996)
    '00:01:00.000'
    """
    total = round(1000 * seconds)
    hours, rest = divmod(total, 3_600_000)
    minutes, milliseconds = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"
