"""Subtitle files to texts with times: SubRip, WebVTT, ASS and SSA. Runs in the worker."""

import html
import re
from typing import Any

from longva_demo.errors import VideoError
from longva_demo.timed_text.encodings import decode_text

# Start and end in seconds, and the text, which may have several lines.
TimedText = tuple[float, float, str]
FORMATS = {"srt": "SubRip", "vtt": "WebVTT", "ass": "ASS", "ssa": "SSA"}
SAVE_AGAIN = "save it as SubRip (.srt), WebVTT (.vtt) or ASS (.ass)"
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d+:[\d:.]+>")  # <i>, <c.yellow>, and WebVTT's <00:01.000>
POSITION = re.compile(r"\{\\[^{}]*\}")  # {\an8}, which SubRip has from ASS


def parse_subtitles(data: bytes, name: str) -> tuple[str, list[TimedText]]:
    """Return (the format's name, texts with times in the file's order). Damaged parts are left out.

    Raises:
        VideoError: the file is in no known format.
    """
    text = decode_text(data).replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
    kind = format_of(text)
    if kind is None:
        raise VideoError(f"{name} is not a subtitle file", SAVE_AGAIN)
    if kind == "vtt":
        text = without_comments(text)
    return FORMATS[kind], parse(text, kind) if kind in ("srt", "vtt") else parse_substation(text, kind)


def format_of(text: str) -> str | None:
    from pysubs2.exceptions import FormatAutodetectionError
    from pysubs2.formats import autodetect_format

    try:
        kind = autodetect_format(text)
    except FormatAutodetectionError:
        return None
    return kind if kind in FORMATS else None


def parse(text: str, kind: str) -> list[TimedText]:
    """The events that show text: no comments, and no drawings, which ASS has too."""
    from pysubs2 import SSAFile

    options: dict[str, Any] = {"keep_html_tags": True} if kind in ("srt", "vtt") else {}
    events = (event for event in SSAFile.from_string(text, format_=kind, **options) if not event.is_comment)
    codec = {"srt": "subrip", "vtt": "webvtt"}.get(kind, kind)
    return [(event.start / 1000, event.end / 1000, plain_text(codec, event.text)) for event in events]


def without_comments(text: str) -> str:
    """WebVTT without its comments, styles and names of cues: pysubs2 takes all that follows a time for a cue's text."""
    cues = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip("\n").split("\n")
        start = next((position for position, line in enumerate(lines[:2]) if "-->" in line), None)
        if start is not None:
            cues.append("\n".join(lines[start:]))
    return "\n\n".join(["WEBVTT", *cues])


def parse_substation(text: str, kind: str) -> list[TimedText]:
    """One damaged event must not cost the others: if there is one, each is parsed on its own."""
    try:
        return parse(text, kind)
    except Exception:
        lines = text.split("\n")
    head = [line for line in lines if line.startswith(("[", "Format:"))]
    found: list[TimedText] = []
    for event in (line for line in lines if line.startswith("Dialogue:")):
        try:
            found += parse("\n".join([*head, event]), kind)
        except Exception:
            continue
    return found


def plain_text(codec: str, text: str) -> str:
    """The text of a cue, without the markup of its codec (FFmpeg's name).

    >>> plain_text("subrip", "{\\\\an8}<i>Well</i> {sic}"), plain_text("ass", "{\\\\b1}Well{\\\\b0}\\\\Nhello")
    ('Well {sic}', 'Well\\nhello')
    >>> plain_text("webvtt", "<v Ann>R&amp;D <00:01.000><c>now</c>")
    'R&D now'
    """
    if codec in ("ass", "ssa"):
        from pysubs2 import SSAEvent

        event = SSAEvent(text=text)
        return "" if event.is_drawing else event.plaintext
    if codec not in ("subrip", "webvtt"):
        return text
    plain = TAG.sub("", text.replace("\\N", "\n"))
    return html.unescape(plain) if codec == "webvtt" else POSITION.sub("", plain)
