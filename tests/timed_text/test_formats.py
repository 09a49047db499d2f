"""Files of lines: what other programs read from them, with texts that try to break out of their cue."""

import json
import re
from io import BytesIO
from pathlib import Path

import av
import pysubs2
import pytest

from longva_demo.errors import DemoError
from longva_demo.timed_text import FORMATS, Line, read_json, write_lines
from longva_demo.timed_text.line import clean_text
from longva_demo.timed_text.subtitle_files import parse_subtitles

HOSTILE = [
    "<script>alert(1)</script> & <b>bold</b>",
    "00:00:01,000 --> 00:00:02,000",
    "WEBVTT",
    "NOTE a comment",
    "{\\an8}{b}",
    "7",
    "\n\n8\n00:00:30,000 --> 00:00:31,000\nanother cue",
    "&lt;i&gt;",
]
LINES = [
    Line(1.0, 2.5, "A red star appears.", "speech"),
    Line(3661.25, 3662.0, "Größe: 星", "screen"),
    *(Line(4000.0 + number, 4000.5 + number, clean_text(text), "subtitles") for number, text in enumerate(HOSTILE)),
]


def written(line: Line) -> str:
    """The text in a file: an arrow, and the times beside it, would start another cue."""
    return line.text.replace("-->", "→").replace(":", "∶") if "-->" in line.text else line.text


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitle_files_have_the_same_cues(kind: str) -> None:
    text = write_lines(LINES, kind)
    assert len(text.split("\n\n")) == len(LINES) + (kind == "vtt"), "an empty line ends a cue"
    events = pysubs2.SSAFile.from_string(text, format_=kind)
    assert [(event.start, event.end) for event in events] == [
        (round(1000 * line.start), round(1000 * line.end)) for line in LINES
    ]
    with av.open(BytesIO(text.encode()), format={"srt": "srt", "vtt": "webvtt"}[kind]) as file:
        packets = [packet for packet in file.demux() if packet.size]
    assert len(packets) == len(LINES)
    assert bytes(packets[1]).decode() == LINES[1].text


def test_webvtt_has_no_markup_from_a_line() -> None:
    """A browser's player shows WebVTT: tags in it would style or name speakers."""
    text = write_lines(LINES, "vtt")
    assert "<" not in text
    assert not re.search("&(?!amp;|lt;|gt;)", text)
    _, events = parse_subtitles(text.encode(), "a.vtt")
    assert [event[2] for event in events] == list(map(written, LINES))


def test_json_from_an_editor_that_marks_utf8(tmp_path: Path) -> None:
    file = tmp_path / "lines.json"
    file.write_text(write_lines(LINES[:2], "json"), "utf-8-sig")
    assert read_json(file) == LINES[:2]


def test_text_and_json() -> None:
    assert write_lines(LINES[:2], "txt") == "0:01  A red star appears.\n1:01:01  Größe: 星\n"
    assert len(write_lines(LINES, "txt").splitlines()) == len(LINES)
    read = json.loads(write_lines(LINES, "json"))
    assert read[1] == {"start": 3661.25, "end": 3662.0, "text": "Größe: 星", "source": "screen"}
    assert len(read) == len(LINES)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_lines(kind: str) -> None:
    assert write_lines([], kind).strip() in ("", "WEBVTT")


@pytest.mark.parametrize("start", ["Infinity", "1e400", "NaN", "-1", '"a"'])
def test_a_file_with_an_impossible_time_is_refused(tmp_path: Path, start: str) -> None:
    file = tmp_path / "words.json"
    file.write_text(f'[{{"start": {start}, "end": 1e999, "text": "A star.", "source": "speech"}}]')
    with pytest.raises(DemoError, match=r"words\.json is not a list of lines"):
        read_json(file)
