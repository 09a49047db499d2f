"""One question about each window of a video on its own, beside one prompt about all of it.

A prompt about a long video is often answered about its beginning. Here each window has a chat of its own, and the
answers are joined.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from longva_demo.chat.answering import Answerer
from longva_demo.chat.borrowed_gpu import group_by_borrowing
from longva_demo.chat.compare import Row, ask_together
from longva_demo.chat.engine import Engine
from longva_demo.chat.lines import ChosenLines
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.turn import Progress
from longva_demo.chat.video_source import VideoSource
from longva_demo.chat.zero_gpu import is_zero_gpu, seconds_to_work
from longva_demo.timed_text import Line
from longva_demo.times import format_time
from longva_demo.video import FramePlan

MAX_WINDOWS, MIN_FRAMES = 8, 4


@dataclass(frozen=True)
class WindowsRow(Row):
    """The answers about `num_windows` windows, which together have `num_frames` frames: a line for each, with its time.

    A window whose answer is that of the one before has no line.
    """

    num_windows: int = 0


def split(plan: FramePlan) -> list[FramePlan]:
    """Windows of neighbouring frames, as equal as possible. Example: 10 frames → 5, 5; fewer than 8 → one window."""
    count = max(1, min(MAX_WINDOWS, plan.num_frames // MIN_FRAMES))
    bounds = [number * plan.num_frames // count for number in range(count + 1)]
    starts = [plan.start_seconds, *(plan.seconds[bound] for bound in bounds[1:-1]), plan.end_seconds]
    return [
        FramePlan(plan.indices[first:last], plan.seconds[first:last], start, end)
        for (first, last), (start, end) in zip(pairwise(bounds), pairwise(starts), strict=True)
    ]


def ask_windows(
    engine: Engine,
    source: VideoSource,
    question: str,
    sampling: Sampling,
    ask: Answerer,
    stopping: threading.Event,
    lines: Sequence[Line] = (),
) -> Iterator[Progress | WindowsRow]:
    """Ask `question` about each window of the frames of `source`, with those of the `lines` that are within it.

    No row if there is one window, or once `stopping`.
    """
    windows = split(source.plan)
    if len(windows) == 1 or stopping.is_set():
        return
    groups = [[number] for number in range(len(windows))]
    if is_zero_gpu():
        groups = group_by_borrowing(
            [seconds_to_work(one.num_frames, False, sampling.max_new_tokens) for one in windows]
        )
    rows: list[Row] = []
    for group in groups:
        asked = [(windows[number], ChosenLines(lines)) for number in group]
        for event in ask_together(engine, source, asked, question, sampling, ask, stopping):
            if isinstance(event, Row):
                rows.append(event)
            else:
                yield event
        if stopping.is_set() or len(rows) <= group[-1]:
            return
    answer = join([(window.start_seconds, row.answer) for window, row in zip(windows, rows, strict=True)])
    tokens, seconds = sum(row.num_tokens for row in rows), sum(row.seconds for row in rows)
    num_lines = sum(row.num_lines for row in rows)
    yield WindowsRow(source.num_frames, answer, tokens, seconds, num_lines, num_windows=len(windows))


def join(answers: Sequence[tuple[float, str]]) -> str:
    """
    >>> join([(0.0, "Red."), (10.0, "Red."), (75.0, "Blue.")])
    '0:00 Red.\\n1:15 Blue.'
    """
    return "\n".join(f"{format_time(next(same)[0])} {answer}" for answer, same in groupby(answers, lambda one: one[1]))
