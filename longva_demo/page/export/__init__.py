"""A chat as one self-contained HTML file, without scripts or links. Every text in it is escaped."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from longva_demo.chat import ChatRecord, ImageSource, Source, VideoSource
from longva_demo.chat.record import AttributedFrame, Exchange, Media
from longva_demo.page.formatting import duration as took
from longva_demo.page.formatting import plural, size
from longva_demo.page.jpeg import thumbnail_url
from longva_demo.page.transcript import ComparedBudget, TurnEntry, Value
from longva_demo.times import format_time

# The strip holds at most this many frames, spread evenly over the sampled ones; their longer side in pixels.
MAX_THUMBNAILS, SIDE = 24, 168
NO_ANSWER = "(no answer)"

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data URL. Only frames of a video have a time."""

    seconds: float | None
    url: str


@dataclass(frozen=True)
class ChatSection:
    """The chat about one selection, with the transcript's entry of each turn."""

    record: ChatRecord
    thumbnails: tuple[Thumbnail, ...]
    entries: tuple[TurnEntry, ...]

    @property
    def num_bytes(self) -> int:
        """Of the thumbnails, which is nearly all that it takes in memory."""
        return sum(len(thumbnail.url) for thumbnail in self.thumbnails)


def make_thumbnails(source: Source | None, attribution: Iterable[AttributedFrame] = ()) -> tuple[Thumbnail, ...]:
    """At most MAX_THUMBNAILS frames as the model was given them, plus those of `attribution`."""
    if isinstance(source, ImageSource):
        return (Thumbnail(None, thumbnail_url(source.thumbnail, 2 * SIDE)),)
    if isinstance(source, VideoSource):
        return tuple(video_thumbnails(source, {item.seconds for item in attribution}))
    return ()


def video_thumbnails(source: VideoSource, wanted: set[float]) -> Iterator[Thumbnail]:
    seconds = source.seconds
    positions = set(np.linspace(0, len(seconds) - 1, min(MAX_THUMBNAILS, len(seconds)), dtype=int).tolist())
    positions |= {position for position, second in enumerate(seconds) if second in wanted}
    for position in sorted(positions):
        yield Thumbnail(seconds[position], thumbnail_url(Image.fromarray(source.stored_frame(position)), SIDE))


def to_html(chats: list[ChatSection]) -> str:
    """The page. Its content security policy forbids scripts and remote content, in case some markup is not escaped."""
    assert chats, "an empty chat is not saved"
    last = chats[-1].record
    return TEMPLATES.get_template("saved_chat.html").render(
        title=f"Chat about {last.media.name}" if last.media else "Chat with LongVA",
        saved=datetime.fromisoformat(last.saved).astimezone(UTC),
        sections=[section(chat, with_heading=len(chats) > 1) for chat in chats],
    )


def section(chat: ChatSection, with_heading: bool) -> Value:
    record = chat.record
    name = record.media.name if record.media else "Without a video"
    frames = record.media.frames if record.media else None
    num_frames, shown = len(frames.indices) if frames else 0, len(chat.thumbnails)
    return {
        "heading": name if with_heading else "",
        "film": film(chat.thumbnails),
        "note": f"{shown} of the {num_frames:,} frames that the model was given." if shown < num_frames else "",
        "facts": list(facts(record)),
        "turns": [
            describe(turn, entry, chat.thumbnails) for turn, entry in zip(record.turns, chat.entries, strict=True)
        ],
    }


def film(thumbnails: Iterable[Thumbnail], weights: dict[float, float] | None = None) -> list[Value]:
    """Pictures with their times and, where there is one, their share of the attention."""
    frames: list[Value] = []
    for thumbnail in thumbnails:
        words = [] if thumbnail.seconds is None else [format_time(thumbnail.seconds, 1)]
        if weights and thumbnail.seconds is not None:
            words.append(f"{weights[thumbnail.seconds]:.0%}")
        frames.append({"url": thumbnail.url, "text": " · ".join(words)})
    return frames


def facts(record: ChatRecord) -> Iterator[tuple[str, str]]:
    """Everything that is needed to ask the same questions again, as names and values."""
    model, first = record.model, record.turns[0]
    if record.media is not None:
        yield from media_facts(record.media)
    yield "Model", f"{model.id}, revision {model.revision}"
    yield "Weights", f"{model.dtype}, quantised: {model.quant}"
    yield "Sampling", f"temperature {first.temperature:g}, top-p {first.top_p:g}, {first.max_new_tokens} tokens"


def media_facts(media: Media) -> Iterator[tuple[str, str]]:
    yield "File", f"{media.name}, {size(media.size_bytes)}"
    yield "SHA-256", media.sha256
    if media.frames is not None:
        frames = media.frames
        span = f"from {format_time(frames.start_seconds, 1)} to {format_time(frames.end_seconds, 1)}"
        numbers = ", each with its number drawn on it" if frames.has_numbers else ""
        count = plural(len(frames.indices), "frame")
        yield "Frames", f"{count} {span}, budget {frames.budget:,}, by {frames.decoder}{numbers}"


def describe(turn: Exchange, entry: TurnEntry, thumbnails: tuple[Thumbnail, ...]) -> Value:
    weights = {item.seconds: item.weight for item in turn.attribution}
    return {
        "question": turn.question,
        "answer": turn.answer,
        "stopped": turn.stopped,
        "used_frames": film((thumbnail for thumbnail in thumbnails if thumbnail.seconds in weights), weights),
        "note": turn.attribution_note,
        "lines_head": "Found in what is said and written" if entry.is_refusal else "Lines the model was given",
        "lines": [(format_time(line.start), line.text) for line in entry.lines],
        "blind": entry.blind and (entry.blind.answer or NO_ANSWER),
        "comparison": entry.comparison and [row_texts(row) for row in entry.comparison.rows],
    }


def row_texts(row: ComparedBudget) -> tuple[str, ...]:
    """Frames, answer, time and tokens."""
    frames = f"{row.frames:,} in {row.windows} windows" if row.windows > 1 else f"{row.frames:,}"
    frames += ", without lines" if row.without_lines else ""
    return frames, row.answer or NO_ANSWER, took(row.duration), f"{row.tokens:,}"
