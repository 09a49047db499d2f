"""A line of what is said or written in a video, with its time."""

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

SOURCES = ("subtitles", "speech", "screen")
MAX_CHARACTERS = 2000  # of one line; no cue that people could read has as many
# Left-to-right and right-to-left marks and overrides: they would turn the text that follows a line on a page.
BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Line:
    """A line of text, in seconds on the timeline of `VideoInfo.frame_seconds`.

    text: one line without control characters. It comes from the file: never treat it as markup.
    source: "subtitles", "speech" or "screen" (written in the frames).
    """

    start: float
    end: float
    text: str
    source: str

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.end < math.inf, (self.start, self.end)
        assert self.source in SOURCES, self.source

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with times in milliseconds' precision."""
        return {**asdict(self), "start": round(self.start, 3), "end": round(self.end, 3)}


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Sorted by start, without repetitions, as of subtitles in several layers. Lines of one source keep their order."""
    return sorted(dict.fromkeys(lines), key=lambda line: (line.start, SOURCES.index(line.source)))


def clean_text(text: str) -> str:
    """One line, without control characters, lone surrogates and marks of direction.

    >>> clean_text("  two\\n lines\\x1b[31m \\u202eand more")
    'two lines [31m and more'
    """
    printable = (" " if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)
    return " ".join(BIDI_CONTROLS.sub("", "".join(printable)).split())[:MAX_CHARACTERS].strip()
