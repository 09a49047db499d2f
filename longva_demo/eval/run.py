"""The evaluation itself: each video is prefilled once, and each of its questions is asked as the first one."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from longva_demo.chat import ChatSession, Engine, ImageSource, Progress, Sampling, Turn, VideoSource
from longva_demo.eval.asking import FrameSampling, Part, ask_all, ask_alone, opened
from longva_demo.eval.questions import Question, grouped
from longva_demo.eval.results import Result, UsedFrame
from longva_demo.eval.scoring import extract_option, is_right

JPEG_QUALITY = 80
NUM_FRAMES_SHOWN = 3


@dataclass(frozen=True)
class Setup:
    """How questions are asked. `root` is the folder that videos are relative to, `out` that of the results."""

    root: Path
    out: Path
    frames: FrameSampling
    sampling: Sampling
    with_attribution: bool


class Pace:
    """The time per question of this run, to estimate the rest: the first about a video takes longer."""

    def __init__(self) -> None:
        self._seconds: dict[bool, list[float]] = {True: [], False: []}

    def add(self, result: Result) -> None:
        if not result.error:
            self._seconds[result.prefilled].append(result.took_seconds)

    def seconds(self, questions: Sequence[Question]) -> float | None:
        """An estimate for `questions`; None before the first answer."""
        firsts = len({question.part for question in questions})
        counts = {True: firsts, False: len(questions) - firsts}
        means = {kind: sum(times) / len(times) for kind, times in self._seconds.items() if times}
        if not means:
            return None
        return sum(count * means.get(kind, means[next(iter(means))]) for kind, count in counts.items())


def run(engine: Engine, questions: Sequence[Question], setup: Setup) -> Iterator[Progress | Result]:
    """Ask all `questions`, those about the same video one after another.

    A question whose video cannot be read gives a result with an error, and is not asked at all.

    Raises:
        ModelError: the model cannot be used any more.
        OSError: the pictures of frames cannot be written.
    """
    for group in grouped(list(questions)):
        video, start, end = group[0].part
        part = Part(setup.root / video, start, end)
        for event in ask_all(engine, part, setup.frames, group, partial(ask, setup)):
            if isinstance(event, Progress):
                yield event
                continue
            question, outcome = event
            yield outcome if isinstance(outcome, Result) else Result(question, error=str(outcome))


def ask(setup: Setup, session: ChatSession, question: Question) -> Generator[Progress, None, Result]:
    """One question with the video, and once more without it."""
    started = time.perf_counter()
    turn = yield from ask_alone(session, question.prompt, setup.sampling)
    used_frames = find_used_frames(session, setup) if setup.with_attribution else ()
    with opened(session.engine, Part(None), setup.frames) as blind_session:
        blind = yield from ask_alone(blind_session, question.prompt, setup.sampling)
    return make_result(session, question, turn, blind, used_frames, time.perf_counter() - started)


def make_result(
    session: ChatSession,
    question: Question,
    turn: Turn,
    blind: Turn,
    used_frames: tuple[UsedFrame, ...],
    took_seconds: float,
) -> Result:
    options = question.options
    return Result(
        question=question,
        answer=turn.answer.strip(),
        option=extract_option(turn.answer, options) if options is not None else None,
        right=is_right(question, turn.answer),
        blind_answer=blind.answer.strip(),
        blind_right=is_right(question, blind.answer),
        indices=tuple(frame.index for frame in session.frames),
        seconds=tuple(round(frame.seconds, 3) for frame in session.frames),
        used_frames=used_frames,
        num_frames=session.source.num_frames if session.source is not None else 0,
        num_tokens=turn.stats.num_tokens,
        prefilled=not turn.stats.reused,
        took_seconds=round(took_seconds, 3),
        notes=tuple(session.notes),
    )


def find_used_frames(session: ChatSession, setup: Setup) -> tuple[UsedFrame, ...]:
    """The frames that the last answer relied on or, without one, those with most attention. Saves their pictures.

    Of a picture it is a small copy, as the whole of it is prefilled.
    """
    source = session.source
    if isinstance(source, ImageSource):
        return (UsedFrame(0, 0.0, 1.0, None, save_picture(source.thumbnail, source.sha256[:16], setup.out)),)
    session.attribute_last_answer()
    found = session.turns[-1].attribution
    if found is None or found.is_first_seen or not isinstance(source, VideoSource):
        return ()
    drops = dict(found.log_prob_drops or ())
    frames = []
    for position in found.used_frames or found.candidates[:NUM_FRAMES_SHOWN]:
        index, drop = source.indices[position], drops.get(position)
        picture = Image.fromarray(source.stored_frame(position))
        frames.append(
            UsedFrame(
                index=index,
                seconds=round(source.seconds[position], 3),
                weight=round(found.attention[position], 4),
                drop=None if drop is None else round(drop, 3),
                picture=save_picture(picture, f"{source.sha256[:16]}-{index}", setup.out),
            )
        )
    return tuple(frames)


def save_picture(picture: Image.Image, name: str, out: Path) -> str:
    """Save a JPEG below `out`, and return its path there; OSError if the disk is full."""
    path = Path("frames") / f"{name}.jpg"
    (out / path.parent).mkdir(parents=True, exist_ok=True)
    picture.save(out / path, "JPEG", quality=JPEG_QUALITY)
    return str(path)
