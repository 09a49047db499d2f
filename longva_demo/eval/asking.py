"""Independent questions about one video or picture, from one prefill; never without it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from longva_demo.chat import (
    ChatSession,
    Engine,
    ImageSource,
    PicturesSource,
    Progress,
    Sampling,
    Source,
    Turn,
    VideoSource,
)
from longva_demo.errors import BudgetError, DemoError, ModelError, VideoError
from longva_demo.video import DecodeLimits, is_picture, plan_frames, probe

Picture = Path | Image.Image
Media = Picture | tuple[Picture, ...] | None  # several are pictures
Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class FrameSampling:
    """How frames are taken from a video: `budget` of them, evenly, as published."""

    budget: int
    decoder: str
    limits: DecodeLimits

    def facts(self) -> dict[str, object]:
        """For result files."""
        return {"frames": self.budget, "sampling": "uniform, numpy.linspace over the range", "decoder": self.decoder}


@dataclass(frozen=True)
class Part:
    """What questions are about: a range of a video in seconds, one or several pictures, or nothing."""

    media: Media
    start: float = 0.0
    end: float | None = None


def ask_all(
    engine: Engine,
    part: Part,
    frames: FrameSampling,
    questions: Sequence[Question],
    ask: Callable[[ChatSession, Question], Generator[Progress, None, Answer]],
) -> Iterator[Progress | tuple[Question, Answer | DemoError]]:
    """Call `ask` with each of `questions`, in one chat about `part`.

    What is wrong with the video is the outcome of all questions that are left; they are not asked.

    Raises:
        ModelError: the model cannot be used any more.
    """
    left = list(questions)
    try:
        with opened(engine, part, frames) as session:
            while left:
                outcome: Answer | DemoError
                try:
                    outcome = yield from ask(session, left[0])
                except (VideoError, BudgetError, ModelError):
                    raise
                except DemoError as error:  # the question is too long, for example
                    outcome = error
                yield left.pop(0), outcome
    except ModelError:
        raise
    except DemoError as error:  # the video cannot be read, or does not fit
        for question in left:
            yield question, error


@contextmanager
def opened(engine: Engine, part: Part, frames: FrameSampling) -> Iterator[ChatSession]:
    """A chat about `part`, closed at the end.

    Raises:
        DemoError: the file cannot be read, the range is outside it, or its frames do not fit.
    """
    session = ChatSession(engine)
    try:
        if part.media is not None:
            source = open_source(engine, part.media, part, frames)
            try:
                session.set_source(source)
            except BaseException:
                source.close()
                raise
        yield session
    finally:
        session.close()


def open_source(engine: Engine, media: Picture | tuple[Picture, ...], part: Part, frames: FrameSampling) -> Source:
    if isinstance(media, tuple):
        return PicturesSource([ImageSource(one, engine.processor, frames.limits) for one in media])
    if isinstance(media, Image.Image) or is_picture(media):
        return ImageSource(media, engine.processor, frames.limits)
    info = probe(media, limits=frames.limits, decoder=frames.decoder)
    plan = plan_frames(info, frames.budget, part.start, part.end)
    return VideoSource(info, plan, engine.processor, frames.decoder, frames.limits)


def ask_alone(session: ChatSession, prompt: str, sampling: Sampling) -> Generator[Progress, None, Turn]:
    """Ask as the first question of a chat: earlier ones are removed, but what was prefilled stays.

    Raises:
        DemoError: the video cannot be decoded, memory is short, or the question is too long.
    """
    session.clear()
    for event in session.ask(prompt, sampling):
        if isinstance(event, Progress):
            yield event
    return session.turns[-1]
