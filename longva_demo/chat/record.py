"""A chat as a file: what was looked at, which model answered, each question and answer; written, read and checked.

The file is JSON. Reading it is strict, since `replay` acts on what it says: an unknown key, a missing one, a value of
the wrong kind or out of bounds, or a change after saving ends in one line that names the field.
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
from longva_demo.errors import DemoError, short, whole_letters
from longva_demo.settings import CHOICES

FORMAT = "longva-demo chat"
VERSION = 3
# A record of 2,000 frames and a hundred turns has about 200 kB.
MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Frames:
    """Which frames of a video were read: `seconds` are the presentation times of `indices`, one a frame."""

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
        require(self.decoder in CHOICES["decoder"], "decoder", f"is none of {', '.join(CHOICES['decoder'])}")
        require(0 < len(self.indices) <= self.budget, "indices", "are none, or more than the budget")
        require(self.indices[0] >= 0 and all(a < b for a, b in pairs), "indices", "do not ascend from 0 or later")
        require(len(self.seconds) == len(self.indices), "seconds", "are not one for each of the indices")


@dataclass(frozen=True)
class Media:
    """The file that the chat is about; `frames` is None for a picture."""

    name: str
    sha256: str
    size_bytes: int
    frames: Frames | None

    def __post_init__(self) -> None:
        require(bool(re.fullmatch("[0-9a-f]{64}", self.sha256)), "sha256", "is not 64 hexadecimal digits")
        require(self.size_bytes > 0, "size_bytes", "is not above 0")


@dataclass(frozen=True)
class ModelFacts:
    """Which model answered; `revision` is the Hub's commit, or a hash of the weights."""

    id: str
    revision: str
    quant: str
    dtype: str

    def __post_init__(self) -> None:
        require(bool(self.id), "id", "is empty")
        for name in ("quant", "dtype"):
            allowed = [choice for choice in CHOICES[name] if choice != "auto"]
            require(getattr(self, name) in allowed, name, f"is none of {', '.join(allowed)}")


@dataclass(frozen=True)
class AttributedFrame:
    """A frame that an answer drew on; `weight` is its share of the attention to frames."""

    seconds: float
    weight: float


@dataclass(frozen=True)
class Exchange:
    """One question and its answer of `num_new_tokens` tokens; `stopped` before its end by the user.

    attribution_note: why there is no `attribution` although the answer is about a video; mostly empty.
    """

    question: str
    answer: str
    temperature: float
    top_p: float
    max_new_tokens: int
    num_new_tokens: int
    stopped: bool
    attribution: tuple[AttributedFrame, ...] = ()
    attribution_note: str = ""

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
        """`frames` are those that the session read."""
        count, stopped, found = turn.stats.num_new_tokens, turn.stats.stopped, turn.attribution
        used_frames = found.used_frames if found is not None else ()
        attribution = tuple(
            AttributedFrame(frames[place].seconds, found.attention[place]) for place in used_frames if found
        )
        return cls(
            turn.question,
            turn.answer,
            **asdict(turn.sampling),
            num_new_tokens=count,
            stopped=stopped,
            attribution=attribution,
            attribution_note=too_long_to_attribute(turn) if turn.is_too_long_to_attribute else "",
        )

    @property
    def sampling(self) -> Sampling:
        """With which the same answer comes again: one that was stopped ends after as many tokens."""
        longest = self.num_new_tokens if self.stopped else self.max_new_tokens
        return Sampling(self.temperature, self.top_p, longest)


def too_long_to_attribute(turn: Turn) -> str:
    """Why the frames of `turn` were not weighed, as a sentence."""
    tokens = (
        f"question and answer have {turn.num_attributed_tokens:,} tokens, and the limit is {MAX_ATTRIBUTED_TOKENS:,}"
    )
    return f"The frames that the answer drew on were not looked for: {tokens}."


@dataclass(frozen=True)
class ChatRecord:
    """A whole chat about one file, or, with `media` None, about none. `saved` is an ISO 8601 time."""

    saved: str
    media: Media | None
    model: ModelFacts
    turns: tuple[Exchange, ...]

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.saved)
        except ValueError:
            require(False, "saved", "is no ISO 8601 time")
        require(bool(self.turns), "turns", "are none")

    def to_json(self) -> str:
        """The file's text. Its last field is a digest of all others, so that a change does not pass for an answer."""
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(values | {"digest": digest(values)}, ensure_ascii=False, allow_nan=False, indent=1)


def record_chat(session: ChatSession, budget: int) -> ChatRecord:
    """What `session` was asked about its present source, of which at most `budget` frames were to be read."""
    loaded = session.engine.loaded
    dtype = str(loaded.dtype).removeprefix("torch.")
    return ChatRecord(
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        media=describe(session.source, budget) if session.source is not None else None,
        model=ModelFacts(loaded.model_id, loaded.revision, loaded.quant, dtype),
        turns=tuple(Exchange.of(turn, session.frames) for turn in session.turns),
    )


def describe(source: Source, budget: int) -> Media:
    if not isinstance(source, VideoSource):
        assert source.path is not None, "only pictures that came as a file can be recorded"
        return Media(whole_letters(source.path.name), source.sha256, source.size_bytes, None)
    plan = source.plan
    frames = Frames(
        budget, plan.start_seconds, plan.end_seconds, source.decoder, tuple(source.indices), tuple(source.seconds)
    )
    return Media(whole_letters(source.info.path.name), source.sha256, source.info.size_bytes, frames)


def read_record(path: Path) -> ChatRecord:
    """Read and check a file that `ChatRecord.to_json` wrote.

    Raises:
        RecordError: it cannot be read, is no such file, or was changed; the line names the field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB", "give a saved chat, not a video")
        return parse_record(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordError(f"{path.name} is not a text file", "give the JSON file of a saved chat") from None
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read ({error.strerror})", "check the path") from None
    except RecordError as error:
        raise RecordError(f"{path.name}: {error.message}", error.remedy) from None


def parse_record(text: str) -> ChatRecord:
    """The record in `text`; raises RecordError."""
    values = load_json(text)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise RecordError(f"the field format is not {FORMAT!r}", "give the JSON file of a saved chat")
    version = values.get("version")
    if version != VERSION or isinstance(version, bool | float):
        raise RecordError(
            f"the field version is {short(version)}, and this longva-demo reads version {VERSION}",
            "use the longva-demo that saved the chat, or save it again",
        )
    rest = {name: value for name, value in values.items() if name not in ("format", "version", "digest")}
    record: ChatRecord = convert(ChatRecord, rest, "")
    seen = {name: value for name, value in values.items() if name != "digest"}
    if values.get("digest") != digest(seen):
        raise RecordError("the field digest does not match the others: the file was changed", REMEDY)
    return record


def digest(values: dict[str, Any]) -> str:
    """SHA-256 of the fields in one fixed spelling. It shows accidents and edits; it is no signature."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()
