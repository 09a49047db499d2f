"""A recorded chat again: replayed with the same frames and questions, or continued where it ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from longva_demo.chat.engine import Engine
from longva_demo.chat.image_source import ImageSource
from longva_demo.chat.lines import ChosenLines
from longva_demo.chat.record import REMEDY, ChatRecord, Exchange, Frames, RecordError
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import Source
from longva_demo.chat.turn import AnswerStats, Progress, TextDelta, Turn
from longva_demo.chat.video_source import VideoSource
from longva_demo.errors import DemoError, VideoError
from longva_demo.model import LongVAProcessor
from longva_demo.video import DecodeLimits, FramePlan, VideoInfo, file_sha256, probe


@dataclass(frozen=True)
class Replayed:
    """A recorded question with its old and its new answer."""

    question: str
    old: str
    new: str

    @property
    def equal(self) -> bool:
        return self.old == self.new


def check_file(record: ChatRecord, path: Path | None) -> None:
    """Check that `path` is the file that the chat is about.

    Raises:
        DemoError: the chat needs a file and there is none, or the reverse.
        VideoError: it is another file, or it cannot be read.
    """
    media = record.media
    if media is None:
        if path is not None:
            raise DemoError(f"the chat is not about a file, but {path.name} was given", "leave it out")
        return
    if path is None:
        raise DemoError(f"the chat is about {media.name}", "add its path after the record")
    found = file_sha256(path)
    if found != media.sha256:
        hashes = f"SHA-256 {found[:12]}…, not {media.sha256[:12]}…"
        raise VideoError(f"{path.name} is not the file of this chat ({hashes})", f"use the original {media.name}")


def plan_recorded(info: VideoInfo, frames: Frames) -> FramePlan:
    """Exactly the recorded frames; raises RecordError if the video has fewer."""
    if frames.indices[-1] >= info.num_frames:
        raise RecordError(
            f"the field media.frames.indices has frame {frames.indices[-1]}, but the video has {info.num_frames}",
            REMEDY,
        )
    seconds = tuple(info.frame_seconds[list(frames.indices)].tolist())
    return FramePlan(frames.indices, seconds, frames.start_seconds, frames.end_seconds)


def open_recorded(
    record: ChatRecord, path: Path | None, processor: LongVAProcessor, limits: DecodeLimits
) -> Source | None:
    """The source of the chat; `check_file` has checked `path`."""
    if record.media is None or path is None:
        return None
    frames = record.media.frames
    if frames is None:
        return ImageSource(path, processor, limits)
    info = probe(path, limits, decoder=frames.decoder)
    plan = plan_recorded(info, frames)
    return VideoSource(info, plan, processor, frames.decoder, limits, frames.has_numbers)


def replay(engine: Engine, record: ChatRecord, source: Source | None) -> Iterator[Progress | Replayed]:
    """Ask every question of `record` again, each with its own lines and after the new answers to the earlier ones."""
    session = ChatSession(engine)
    try:
        session.set_source(source)
        for exchange in record.turns:
            yield from ask_again(session, exchange)
    finally:
        session.close()


def ask_again(session: ChatSession, exchange: Exchange) -> Iterator[Progress | Replayed]:
    session.lines = ChosenLines(exchange.given_lines)
    for event in session.ask(exchange.question, exchange.sampling):
        if not isinstance(event, TextDelta):
            yield event
    yield Replayed(exchange.question, exchange.answer, session.turns[-1].answer)


def resume(session: ChatSession, record: ChatRecord) -> None:
    """Continue the chat of `record` in a session about its file, as `check_file` has found, without asking again.

    The answers are tokenised again, and have no attribution.
    """
    has_frames = record.media is not None
    turns = [
        recorded_turn(session.engine, exchange, is_first=number == 0, has_frames=has_frames)
        for number, exchange in enumerate(record.turns)
    ]
    session.resume(session.source, turns)


def recorded_turn(engine: Engine, exchange: Exchange, is_first: bool, has_frames: bool) -> Turn:
    question_ids = engine.template.question(exchange.question, first=is_first, has_frames=has_frames)
    answer_ids = engine.processor.tokenizer.encode(exchange.answer, add_special_tokens=False)
    return Turn(
        exchange.question,
        exchange.answer,
        AnswerStats(num_new_tokens=exchange.num_new_tokens, stopped=exchange.stopped),
        Sampling(exchange.temperature, exchange.top_p, exchange.max_new_tokens),
        tuple(question_ids),
        (*answer_ids, engine.template.end_of_turn),
        lines=exchange.given_lines,
    )
