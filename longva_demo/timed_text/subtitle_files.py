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
TIMES = re.compile(r"\d:\d{1,2}[.,]\d{1,3}[ \t]*-->[ \t]*(?:\d|-)")
NEGATIVE_TIME = re.compile(
    r"(?<![^\s])-(?:\d+:)?\d+:\d{1,2}[.,]\d{1,3}"
)  # of cues that were shifted to before the video
SUBSTATION = re.compile(r"^\[(?:Script Info|V4\+? Styles|Events)\]", re.MULTILINE)
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
    head, cues = split_substation(text) if kind in ("ass", "ssa") else split_cues(text, kind)
    try:
        return FORMATS[kind], parse(head, cues, kind)
    except Exception:  # pysubs2 raises many types. Then each cue is parsed on its own
        return FORMATS[kind], [event for cue in cues for event in parse_one(head, cue, kind)]


def format_of(text: str) -> str | None:
    """A key of FORMATS. Names and suffixes are not to be trusted."""
    if text.lstrip("\ufeff\n\t ").startswith("WEBVTT"):
        return "vtt"
    if SUBSTATION.search(text):
        return "ssa" if "[V4 Styles]" in text else "ass"
    return "srt" if TIMES.search(text) else None


def split_substation(text: str) -> tuple[str, list[str]]:
    lines = text.split("\n")
    head = [line for line in lines if not line.startswith(("Dialogue:", "Comment:"))]
    return "\n".join(head), [line for line in lines if line.startswith("Dialogue:")]


def split_cues(text: str, kind: str) -> tuple[str, list[str]]:
    """Return (the head of the format, its cues). A cue starts with its times.

    It ends with an empty line; SubRip also allows such lines in a text, if the number of a cue does not follow. What is
    between cues (WebVTT's comments, styles and names) is left out: pysubs2 takes all that follows a time for text.
    """
    cues: list[list[str]] = []
    is_text = is_after_gap = False
    for line in text.split("\n"):
        is_gap = not line.strip()
        if TIMES.search(line):
            if len(NEGATIVE_TIME.findall(line)) > 1:  # it ends before the video
                is_text = False
                continue
            cues.append([NEGATIVE_TIME.sub("00:00:00.000", line)])  # pysubs2 ignores the sign
            is_text = True
        elif (kind == "vtt" and is_gap) or (is_after_gap and line.strip().isdecimal()):
            is_text = False
        elif is_text:
            cues[-1].append(line)
        is_after_gap = is_gap
    return "WEBVTT\n\n" if kind == "vtt" else "", ["\n".join([*cue, ""]) for cue in cues]


def parse_one(head: str, cue: str, kind: str) -> list[TimedText]:
    try:
        return parse(head, [cue], kind)
    except Exception:
        return []


def parse(head: str, cues: list[str], kind: str) -> list[TimedText]:
    from pysubs2 import SSAFile

    options: dict[str, Any] = {"keep_html_tags": True} if kind in ("srt", "vtt") else {}
    file = SSAFile.from_string("\n".join([head, *cues]), format_=kind, **options)
    codec = {"srt": "subrip", "vtt": "webvtt"}.get(kind, kind)
    return [(event.start / 1000, event.end / 1000, plain_text(codec, event.text)) for event in file]


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
