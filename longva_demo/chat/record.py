"""A chat as a JSON file: the video and its frames, the model, each question and answer.

Reading is strict, because `replay` acts on the values. An unknown or missing key, a value of the wrong type or out of
bounds, or a change after saving raises an error of one line that names the field.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.schema import REMEDY, RecordError, convert, load_json, require
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import Source, VideoSource
from longva_demo.chat.turn import FrameRef, Turn
from longva_demo.errors import DemoError, replace_surrogates, short
from longva_demo.settings import CHOICES

FORMAT = "longva-demo chat"
VERSION = 3
# A record of 2,000 frames and a hundred turns takes about 200 kB.
MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Frames:
    """Which frames of a video were used: `seconds` are the presentation times of `indices`."""

    budget: int
    start_seconds: float
    end_seconds: float
    decoder: str
    indices: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = zip(self.indices, self.indices[1:], strict=False)
        require(self.budget >= 1, "budget", "is below 1")
        require(0 <= self.start_seconds <= self.end_seconds, "end_seconds", "is before start_seconds")
        require(self.decoder in CHOICES["decoder"], "decoder", f"is not one of {', '.join(CHOICES['decoder'])}")
        require(0 < len(self.indices) <= self.budget, "indices", "is empty or exceeds the budget")
        require(self.indices[0] >= 0 and all(a < b for a, b in pairs), "indices", "is not ascending from 0 or later")
        require(len(self.seconds) == len(self.indices), "seconds", "does not have one value per index")


@dataclass(frozen=True)
class Media:
    """The file that the chat is about. `frames` is None for a picture."""

    name: str
    sha256: str
    size_bytes: int
    frames: Frames | None

    def __post_init__(self) -> None:
        require(bool(re.fullmatch("[0-9a-f]{64}", self.sha256)), "sha256", "is not 64 hexadecimal digits")
        require(self.size_bytes > 0, "size_bytes", "is not positive")


@dataclass(frozen=True)
class ModelFacts:
    """Which model answered. `revision` is the commit on the Hub, or a hash of the weights."""

    id: str
    revision: str
    quant: str
    dtype: str

    def __post_init__(self) -> None:
        require(bool(self.id), "id", "is empty")
        for name in ("quant", "dtype"):
            allowed = [choice for choice in CHOICES[name] if choice != "auto"]
            require(getattr(self, name) in allowed, name, f"is not one of {', '.join(allowed)}")


@dataclass(frozen=True)
class AttributedFrame:
    """A frame that an answer relied on. `weight` is its share of the attention to frames."""

    seconds: float
    weight: float


@dataclass(frozen=True)
class Exchange:
    """One question and its answer. `stopped`: the user stopped it, after `num_new_tokens` tokens."""

    question: str
    answer: str
    temperature: float
    top_p: float
    max_new_tokens: int
    num_new_tokens: int
    stopped: bool
    attribution: tuple[AttributedFrame, ...] = ()
    attribution_note: str = ""
    """why an answer about a video has no `attribution`; usually empty"""

    def __post_init__(self) -> None:
        require(bool(self.question.strip()), "question", "is empty")
        require(1 <= self.num_new_tokens <= self.max_new_tokens, "num_new_tokens", "is not 1 to max_new_tokens")
        for name in ("temperature", "top_p", "max_new_tokens"):
            try:
                Sampling(**{name: getattr(self, name)})
            except DemoError as error:
                require(False, name, f"is out of bounds ({error.remedy})")

    @classmethod
    def of(cls, turn: Turn, frames: Sequence[FrameRef]) -> "Exchange":
        """`frames` are the session's."""
        found = turn.attribution
        used_frames = found.used_frames if found is not None else ()
        attribution = tuple(
            AttributedFrame(frames[frame].seconds, found.attention[frame]) for frame in used_frames if found
        )
        return cls(
            turn.question,
            turn.answer,
            **asdict(turn.sampling),
            num_new_tokens=turn.stats.num_new_tokens,
            stopped=turn.stats.stopped,
            attribution=attribution,
            attribution_note=too_long_to_attribute(turn) if turn.is_too_long_to_attribute else "",
        )

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


@dataclass(frozen=True)
class ChatRecord:
    """A whole chat about one file, or about none if `media` is None. `saved` is an ISO 8601 time."""

    saved: str
    media: Media | None
    model: ModelFacts
    turns: tuple[Exchange, ...]

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.saved)
        except ValueError:
            require(False, "saved", "is not an ISO 8601 time")
        require(bool(self.turns), "turns", "is empty")

    def to_json(self) -> str:
        """The text of the file. Its last field is a digest of all others, so that changes are detected."""
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(values | {"digest": digest(values)}, ensure_ascii=False, allow_nan=False, indent=1)


def record_chat(session: ChatSession, budget: int) -> ChatRecord:
    """The turns of `session` about its present source, of which at most `budget` frames were sampled."""
    loaded = session.engine.loaded
    dtype = str(loaded.dtype).removeprefix("torch.")
    return ChatRecord(
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        media=describe(session.source, budget) if session.source is not None else None,
        model=ModelFacts(loaded.model_id, loaded.revision, loaded.quant, dtype),
        turns=tuple(Exchange.of(turn, session.frames) for turn in session.turns),
    )


def describe(source: Source, budget: int) -> Media:
    assert source.path is not None, "a picture without a file cannot be recorded"
    frames = describe_frames(source, budget) if isinstance(source, VideoSource) else None
    return Media(replace_surrogates(source.path.name), source.sha256, source.size_bytes, frames)


def describe_frames(source: VideoSource, budget: int) -> Frames:
    plan, indices, seconds = source.plan, tuple(source.indices), tuple(source.seconds)
    return Frames(budget, plan.start_seconds, plan.end_seconds, source.decoder, indices, seconds)


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
        return parse_record(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordError(f"{path.name} is not a text file", "use the JSON file of a saved chat") from None
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read ({error.strerror})", "check the path") from None
    except RecordError as error:
        raise RecordError(f"{path.name}: {error.message}", error.remedy) from None


def parse_record(text: str) -> ChatRecord:
    """The record in `text`; raises RecordError."""
    values = load_json(text)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise RecordError(f"the field format is not {FORMAT!r}", "use the JSON file of a saved chat")
    version = values.get("version")
    if version != VERSION or isinstance(version, bool | float):
        raise RecordError(
            f"the field version is {short(version)}, but this longva-demo reads version {VERSION}",
            "use the longva-demo that saved the chat, or save it again",
        )
    rest = {name: value for name, value in values.items() if name not in ("format", "version", "digest")}
    record: ChatRecord = convert(ChatRecord, rest, "")
    seen = {name: value for name, value in values.items() if name != "digest"}
    if values.get("digest") != digest(seen):
        raise RecordError("the field digest does not match the others, so the file was changed", REMEDY)
    return record


def digest(values: dict[str, Any]) -> str:
    """SHA-256 of the fields in a canonical form. It detects accidents and edits, but is not a signature."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()
