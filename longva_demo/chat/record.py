"""A chat as a JSON file: the video and its frames, the model, each question and answer.

Reading is strict, because `replay` acts on the values. An unknown or missing key, a value of the wrong type or out of
bounds, or a change after saving raises an error of one line that names the field.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import Source
from longva_demo.chat.turn import FrameRef, Turn
from longva_demo.chat.video_source import VideoSource
from longva_demo.errors import DemoError, replace_surrogates, short
from longva_demo.settings import CHOICES
from longva_demo.strict import STRICT, first_problem, require
from longva_demo.timed_text.line import MAX_CHARACTERS, SOURCES, Line, clean_text
from longva_demo.times import format_time

FORMAT = "longva-demo chat"
VERSION = 5
# A record of 2,000 frames and a hundred turns takes about 200 kB.
MAX_BYTES = 50_000_000


REMEDY = "save the chat again, or use an unchanged copy"

# Larger ones are not written, and cannot be shown.
Count = Annotated[int, Field(ge=1, lt=2**53)]
Number = Annotated[float, Field(gt=-1e15, lt=1e15)]
Name = Annotated[str, Field(min_length=1)]


class RecordError(DemoError):
    """A file that is not a saved chat, or has been changed."""


def check_choice(value: str, info: ValidationInfo) -> str:
    """Check a field of the name of a setting against the choices of that setting, without "auto"."""
    allowed = [choice for choice in CHOICES[str(info.field_name)] if choice != "auto"]
    require(value in allowed, f"it is not one of {', '.join(allowed)}")
    return value


@dataclass(frozen=True, config=STRICT)
class Frames:
    """Which frames of a video of `duration_seconds` were used: `seconds` are the presentation times of `indices`.

    `has_numbers`: each frame's number was drawn on the pixels that the model was given.
    """

    budget: Count
    duration_seconds: Number
    start_seconds: Annotated[Number, Field(ge=0)]
    end_seconds: Number
    decoder: str
    indices: tuple[int, ...]
    seconds: tuple[Number, ...]
    has_numbers: bool

    _decoder_is_known = field_validator("decoder")(check_choice)

    @field_validator("end_seconds")
    @classmethod
    def _check_end(cls, end: float, info: ValidationInfo) -> float:
        require(info.data.get("start_seconds", end) <= end, "it is before start_seconds")
        return end

    @field_validator("indices")
    @classmethod
    def _check_indices(cls, indices: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        require(0 < len(indices) <= info.data.get("budget", len(indices)), "it is empty or exceeds the budget")
        ascending = all(a < b for a, b in itertools.pairwise(indices))
        require(indices[0] >= 0 and ascending, "it is not ascending from 0 or later")
        return indices

    @field_validator("seconds")
    @classmethod
    def _check_seconds(cls, seconds: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        require(len(seconds) == len(info.data.get("indices", seconds)), "it does not have one value per index")
        return seconds


@dataclass(frozen=True, config=STRICT)
class Media:
    """The file that the chat is about. `frames` is None for a picture."""

    name: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: Count
    frames: Frames | None


@dataclass(frozen=True, config=STRICT)
class ModelFacts:
    """Which model answered. `revision` is the commit on the Hub, or a hash of the weights."""

    id: Name
    revision: str
    quant: str
    dtype: str

    _choices_are_known = field_validator("quant", "dtype")(check_choice)


@dataclass(frozen=True, config=STRICT)
class AttributedFrame:
    """A frame that an answer relied on. `weight` is its share of the attention to frames."""

    seconds: Number
    weight: Number


@dataclass(frozen=True, config=STRICT)
class GivenLine:
    """A line of what is said or written that the model was given with a question; see `timed_text.Line`."""

    start: Annotated[Number, Field(ge=0)]
    end: Number
    text: Annotated[str, Field(pattern=r"\S", max_length=MAX_CHARACTERS)]
    source: str

    @field_validator("end")
    @classmethod
    def _check_end(cls, end: float, info: ValidationInfo) -> float:
        require(info.data.get("start", end) <= end, "it is before start")
        return end

    @field_validator("source")
    @classmethod
    def _check_source(cls, source: str) -> str:
        require(source in SOURCES, f"it is not one of {', '.join(SOURCES)}")
        return source


@dataclass(frozen=True, config=STRICT)
class Exchange:
    """One question and its answer. `stopped`: the user stopped it, after `num_new_tokens` tokens."""

    question: Annotated[str, Field(pattern=r"\S")]
    answer: str
    temperature: float
    top_p: float
    max_new_tokens: int
    num_new_tokens: Count
    stopped: bool
    attribution: tuple[AttributedFrame, ...]
    attribution_note: str
    """why an answer about a video has no `attribution`, or where it was first seen; usually empty"""
    lines: tuple[GivenLine, ...]

    @field_validator("temperature", "top_p", "max_new_tokens")
    @classmethod
    def _check_sampling(cls, value: float, info: ValidationInfo) -> float:
        try:
            Sampling(**{str(info.field_name): value})  # type: ignore[arg-type]
        except DemoError as error:
            raise ValueError(error.remedy) from None
        return value

    @field_validator("num_new_tokens")
    @classmethod
    def _check_length(cls, count: int, info: ValidationInfo) -> int:
        require(count <= info.data.get("max_new_tokens", count), "it is above max_new_tokens")
        return count

    @classmethod
    def of(cls, turn: Turn, frames: Sequence[FrameRef]) -> "Exchange":
        """`frames` are the session's."""
        found = turn.attribution
        used_frames = found.used_frames if found is not None else ()
        is_first_seen = found is not None and found.is_first_seen
        attribution = tuple(
            AttributedFrame(frames[frame].seconds, found.attention[frame])
            for frame in used_frames
            if found and not is_first_seen
        )
        note = too_long_to_attribute(turn) if turn.is_too_long_to_attribute else ""
        if is_first_seen and used_frames:
            note = f"The answer was first seen at {format_time(frames[used_frames[0]].seconds, 1)}."
        return cls(
            turn.question,
            turn.answer,
            temperature=turn.sampling.temperature,
            top_p=turn.sampling.top_p,
            max_new_tokens=turn.sampling.max_new_tokens,
            num_new_tokens=turn.stats.num_new_tokens,
            stopped=turn.stats.stopped,
            attribution=attribution,
            attribution_note=note,
            lines=tuple(GivenLine(line.start, line.end, line.text, line.source) for line in turn.lines),
        )

    @property
    def given_lines(self) -> tuple[Line, ...]:
        """The lines, cleaned again: the file may come from a stranger."""
        return tuple(Line(line.start, line.end, clean_text(line.text), line.source) for line in self.lines)

    @property
    def sampling(self) -> Sampling:
        """The settings that give the same answer again: a stopped one ends after as many tokens."""
        longest = self.num_new_tokens if self.stopped else self.max_new_tokens
        return Sampling(self.temperature, self.top_p, longest)


def too_long_to_attribute(turn: Turn) -> str:
    """Why `turn` has no attribution, as a sentence."""
    tokens = (
        f"question and answer have {turn.num_attributed_tokens:,} tokens, and the limit is {MAX_ATTRIBUTED_TOKENS:,}"
    )
    return f"No attribution for this answer: {tokens}."


@dataclass(frozen=True, config=STRICT)
class ChatRecord:
    """A whole chat about one file, or about none if `media` is None. `saved` is an ISO 8601 time."""

    saved: str
    media: Media | None
    model: ModelFacts
    turns: Annotated[tuple[Exchange, ...], Field(min_length=1)]

    @field_validator("saved")
    @classmethod
    def _check_time(cls, saved: str) -> str:
        datetime.fromisoformat(saved)
        return saved

    def to_json(self) -> str:
        """The text of the file. Its last field is a digest of all others, so that changes are detected."""
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(values | {"digest": digest(values)}, ensure_ascii=False, allow_nan=False, indent=1)


def record_chat(session: ChatSession, budget: int) -> ChatRecord:
    """The turns of `session` about its present source, of which at most `budget` frames were sampled."""
    model = session.engine.model
    return ChatRecord(
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        media=describe(session.source, budget) if session.source is not None else None,
        model=ModelFacts(model.id, model.revision, model.quant, model.dtype),
        turns=tuple(Exchange.of(turn, session.frames) for turn in session.turns),
    )


def describe(source: Source, budget: int) -> Media:
    assert source.path is not None, "a picture without a file cannot be recorded"
    frames = describe_frames(source, budget) if isinstance(source, VideoSource) else None
    return Media(replace_surrogates(source.path.name), source.sha256, source.size_bytes, frames)


def describe_frames(source: VideoSource, budget: int) -> Frames:
    plan, indices, seconds = source.plan, tuple(source.indices), tuple(source.seconds)
    duration = source.duration_seconds
    start, end = plan.start_seconds, plan.end_seconds
    return Frames(budget, duration, start, end, source.decoder, indices, seconds, source.has_numbers)


def read_record(path: Path) -> ChatRecord:
    """Read and check a file that `ChatRecord.to_json` wrote.

    Raises:
        RecordError: it cannot be read, is not a saved chat, or was changed; the message names the field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(
                f"{path.name} has {path.stat().st_size / 1e6:.0f} MB", "use the JSON file of a saved chat"
            )
        return parse_record(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RecordError(f"{path.name} is not a text file", "use the JSON file of a saved chat") from None
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read ({error.strerror})", "check the path") from None
    except RecordError as error:
        raise RecordError(f"{path.name}: {error.message}", error.remedy) from None


def parse_record(text: str) -> ChatRecord:
    """The record in `text`; raises RecordError."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise RecordError("this is not JSON", "use the JSON file of a saved chat") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise RecordError(f"the field format is not {FORMAT!r}", "use the JSON file of a saved chat")
    version = values.get("version")
    if version != VERSION or isinstance(version, bool | float):
        raise RecordError(
            f"the field version is {short(version)}, but this longva-demo reads version {VERSION}",
            "use the longva-demo that saved the chat, or save it again",
        )
    rest = {name: value for name, value in values.items() if name not in ("format", "version", "digest")}
    try:
        record = TypeAdapter(ChatRecord).validate_json(json.dumps(rest))
    except ValidationError as error:
        raise RecordError(first_problem(error), REMEDY) from None
    seen = {name: value for name, value in values.items() if name != "digest"}
    if values.get("digest") != digest(seen):
        raise RecordError("the field digest does not match the others, so the file was changed", REMEDY)
    return record


def digest(values: dict[str, Any]) -> str:
    """SHA-256 of the fields in a canonical form. It detects accidents and edits, but is not a signature."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()
