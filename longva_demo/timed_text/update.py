"""What is asked for, and what the sources give."""

from dataclasses import dataclass, field
from pathlib import Path

from longva_demo.errors import DemoError, short
from longva_demo.timed_text.line import SOURCES, Line, in_order
from longva_demo.timed_text.store import LineStore

NUM_FRAMES = 64
SPEECH_MODEL = "tiny.en"
MAX_WAIT_SECONDS = 120.0  # for a recogniser that other visitors use


@dataclass(frozen=True)
class Request:
    """Which lines to read.

    sources: of SOURCES.
    subtitles: a subtitle file that replaces those of the video.
    looks_beside: whether a file beside the video, such as clip.srt, is used.
    num_frames: how many frames are searched for text.
    start_seconds, end_seconds: the range; `end_seconds` None is the end of the video.
    store: where complete results of speech and of text in frames are kept, by the file's hash.
    speech_model: of speech_models.NAMES, or a folder; `may_download`: from the Hub, if it is not in its cache.
    """

    sources: tuple[str, ...] = SOURCES
    subtitles: Path | None = None
    looks_beside: bool = True
    num_frames: int = NUM_FRAMES
    start_seconds: float = 0.0
    end_seconds: float | None = None
    speech_model: str = SPEECH_MODEL
    may_download: bool = True
    store: LineStore | None = None


@dataclass(frozen=True)
class Update:
    """The lines of one source so far. The last update of a source has all of them.

    done, total: how much was read, in seconds (speech), frames (screen) or files (subtitles).
    notes: what the user should know, one sentence each.
    """

    source: str
    lines: tuple[Line, ...]
    done: float
    total: float
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        return self.done >= self.total


def parse_sources(text: str) -> tuple[str, ...]:
    """Sources, separated by commas.

    >>> parse_sources("screen, subtitles")
    ('subtitles', 'screen')

    Raises:
        DemoError: one is not of SOURCES, or there is none.
    """
    named = {name.strip() for name in text.split(",")} - {""}
    for name in sorted(named - set(SOURCES)):
        raise DemoError(f"{short(name)} is not a valid source", f"use {', '.join(SOURCES)}, separated by commas")
    if not named:
        raise DemoError("no source is named", f"use {', '.join(SOURCES)}, separated by commas")
    return tuple(source for source in SOURCES if source in named)


@dataclass
class Collected:
    """The newest lines and notes of each source."""

    lines_by_source: dict[str, tuple[Line, ...]] = field(default_factory=dict)
    notes_by_source: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, update: Update) -> None:
        self.lines_by_source[update.source] = update.lines
        self.notes_by_source[update.source] = update.notes

    @property
    def lines(self) -> list[Line]:
        return in_order(line for lines in self.lines_by_source.values() for line in lines)

    @property
    def notes(self) -> list[str]:
        return [note for notes in self.notes_by_source.values() for note in notes]
