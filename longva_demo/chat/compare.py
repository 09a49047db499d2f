"""One question at several frame budgets, and without its lines: do more frames help, and do the lines?"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from longva_demo.chat.answering import Answerer
from longva_demo.chat.borrowed_gpu import borrow_once, group_by_borrowing
from longva_demo.chat.engine import Engine
from longva_demo.chat.lines import ChosenLines
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.turn import Progress
from longva_demo.chat.video_source import VideoSource
from longva_demo.chat.zero_gpu import is_zero_gpu, seconds_to_work
from longva_demo.errors import DemoError
from longva_demo.timed_text import Line
from longva_demo.video import FramePlan, plan_frames

BUDGETS = (8, 32, 128, 512, 2000)


@dataclass(frozen=True)
class Row:
    """The answer with `num_frames` frames; `seconds` from the question to the answer's end, prefill included.

    num_lines: how many lines of what is said and written the model was given.
    """

    num_frames: int
    answer: str
    num_tokens: int
    seconds: float
    num_lines: int


@dataclass(frozen=True)
class Budgets:
    """The budgets to compare, ascending, and why others are missing.

    present: the number of frames that the answer in the chat was given; it is one of `compared`.
    missing: those of BUDGETS that exceed `limit` frames, which are all of the range, or all that fit the model and its
        memory.
    """

    compared: tuple[int, ...]
    present: int
    missing: tuple[int, ...]
    limit: int
    is_limited_by_range: bool


def choose_budgets(engine: Engine, source: VideoSource, min_count: int = 2) -> Budgets:
    """Those of `BUDGETS` that fit the model and do not exceed the frames in the range, and that of `source`.

    Raises:
        DemoError: there are fewer than `min_count`.
    """
    plan, present, fits = source.plan, source.num_frames, engine.meter(1).largest_budget
    most = plan_frames(source.info, max(BUDGETS), plan.start_seconds, plan.end_seconds).num_frames
    limit = min(most, fits)
    compared = tuple(sorted({present, *(budget for budget in BUDGETS if budget <= limit)}))
    if len(compared) < min_count:
        what = f"{source.path.name} has {most:,} frames here, and {fits:,} fit the model"
        raise DemoError(f"{what}: too few to compare budgets", "choose a longer range")
    missing = tuple(budget for budget in BUDGETS if budget > limit)
    return Budgets(compared, present, missing, limit, is_limited_by_range=most <= fits)


def compare(
    engine: Engine,
    source: VideoSource,
    budgets: Sequence[int],
    question: str,
    sampling: Sampling,
    ask: Answerer,
    stopping: threading.Event,
    lines: Sequence[Line] = (),
) -> Iterator[Progress | Row]:
    """Ask `question` about the range of `source` with each of the budgets, each in a new chat.

    If the answer was given `lines`, so is each of these, and last the budget of `source` is asked without them.
    Each budget prefills the video without the shared cache, so its seconds are its real cost. On ZeroGPU, budgets share
    a borrowing of the GPU as far as its time allows. Once `stopping` is set, the remaining rows are left out.
    """
    plan = source.plan
    rows = [
        (plan_frames(source.info, budget, plan.start_seconds, plan.end_seconds), ChosenLines(lines))
        for budget in budgets
    ]
    rows += [(plan, ChosenLines(()))] if lines else []
    groups = [[number] for number in range(len(rows))]
    if is_zero_gpu():
        groups = group_by_borrowing(
            [seconds_to_work(one.num_frames, False, sampling.max_new_tokens) for one, _ in rows]
        )
    for group in groups:
        yield from ask_together(engine, source, [rows[number] for number in group], question, sampling, ask, stopping)
        if stopping.is_set():
            return


def ask_together(
    engine: Engine,
    source: VideoSource,
    rows: Sequence[tuple[FramePlan, ChosenLines]],
    question: str,
    sampling: Sampling,
    ask: Answerer,
    stopping: threading.Event,
) -> Iterator[Progress | Row]:
    """Ask for each of these rows in a chat of its own; a GPU is borrowed once for all of them."""
    with ExitStack() as chats:
        sessions = [chats.enter_context(closing(ChatSession(engine, is_shared=False))) for _ in rows]
        for session, (plan, lines) in zip(sessions, rows, strict=True):
            session.lines = lines
            session.set_source(
                VideoSource(source.info, plan, engine.processor, source.decoder, source.limits, source.has_numbers)
            )
        chats.enter_context(borrow_once([(session, question, sampling) for session in sessions]))
        for session, (plan, _) in zip(sessions, rows, strict=True):
            with closing(ask(session, question, sampling, False, stopping)) as events:
                yield from (event for event in events if isinstance(event, Progress))
            if stopping.is_set() or not session.turns:
                return
            turn = session.turns[-1]
            yield Row(plan.num_frames, turn.answer, turn.stats.num_tokens, turn.stats.seconds, len(turn.lines))
