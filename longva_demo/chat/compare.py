"""One question at several frame budgets: does it help to look at more frames?"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from longva_demo.chat.engine import Engine
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import VideoSource
from longva_demo.chat.turn import Progress, TextDelta
from longva_demo.errors import DemoError
from longva_demo.video import plan_frames

BUDGETS = (8, 32, 128, 512, 2000)

# Asks a session a question, not in place of its last one, and ends soon after the event is set.
Ask = Callable[[ChatSession, str, Sampling, bool, threading.Event], Iterator[Progress | TextDelta]]


@dataclass(frozen=True)
class Row:
    """The answer with `num_frames` frames; `seconds` from asking to its end, reading the video included."""

    num_frames: int
    answer: str
    num_tokens: int
    seconds: float


def budgets_for(engine: Engine, source: VideoSource) -> list[int]:
    """Those of `BUDGETS` that the model has room for and the range has frames for.

    Raises:
        DemoError: there are not two of them.
    """
    plan = source.plan
    most = plan_frames(source.info, max(BUDGETS), plan.start_seconds, plan.end_seconds).num_frames
    budgets = [budget for budget in BUDGETS if budget <= most and engine.meter(budget).fits]
    if len(budgets) < 2:
        what = f"{source.info.path.name} has {most:,} frames here, and room is for {engine.meter(1).largest_budget:,}"
        raise DemoError(f"{what}: too few to compare budgets", f"choose a range of {BUDGETS[1]} frames or more")
    return budgets


def compare(
    engine: Engine, source: VideoSource, question: str, sampling: Sampling, ask: Ask, stopping: threading.Event
) -> Iterator[Progress | Row]:
    """Ask `question` about the range of `source` with each budget, in a chat of its own each time.

    Each budget reads the video anew, and so costs what it says. Ends without the rows to come once `stopping` is set.
    """
    plan = source.plan
    for budget in budgets_for(engine, source):
        planned = plan_frames(source.info, budget, plan.start_seconds, plan.end_seconds)
        with closing(ChatSession(engine, is_shared=False)) as session:
            sampled = VideoSource(source.info, planned, engine.processor, source.decoder, source.limits)
            session.set_source(sampled)
            events: Any = ask(session, question, sampling, False, stopping)
            with closing(events):
                yield from (event for event in events if isinstance(event, Progress))
            if stopping.is_set() or not session.turns:
                return
            turn = session.turns[-1]
            yield Row(sampled.num_frames, turn.answer, turn.stats.num_tokens, turn.stats.seconds)
