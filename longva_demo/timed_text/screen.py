"""Text in the frames, read by RapidOCR in a worker. A text that stays is one line with a range."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from longva_demo.quotas import CLIENT, RECOGNISERS
from longva_demo.timed_text.line import Line
from longva_demo.timed_text.packages import check_installed
from longva_demo.timed_text.screen_worker import Seen
from longva_demo.timed_text.update import MAX_WAIT_SECONDS, Request, Update
from longva_demo.video import DecodeLimits, FramePlan, VideoInfo, plan_frames
from longva_demo.video._worker.process import Role, WorkerProcess
from longva_demo.video.decode import decode_request
from longva_demo.video.probe import check_unchanged

WORKER = "longva_demo.timed_text.screen_worker:run"
ROLE = Role("text reader", "reading text in the frames", "choose fewer frames or a shorter range")
SECONDS_PER_FRAME = 30.0  # that a slow processor may take for a 4K frame full of text
# Two frames show the same line if so much of its letters is equal (0 to 100), and of short lines all.
MIN_SIMILARITY, MIN_FUZZY_LETTERS = 80.0, 6
DIGIT = re.compile(r"\d")


def read_screen(info: VideoInfo, request: Request, limits: DecodeLimits) -> Iterator[Update]:
    """Yield an update for each frame. Closing the iterator ends the worker.

    Raises:
        DemoError: a package is missing, or the worker fails or exceeds a limit.
    """
    check_installed("screen")
    check_unchanged(info.path, info, limits)
    plan = plan_frames(info, request.num_frames, request.start_seconds, request.end_seconds)
    long = replace(limits, timeout_seconds=max(limits.timeout_seconds, SECONDS_PER_FRAME * plan.num_frames))
    message, payload = decode_request(info.path, plan, info, long)
    message |= {"task": "call", "function": WORKER}
    signs = Signs(plan)
    with RECOGNISERS.hold(CLIENT.get(), MAX_WAIT_SECONDS):
        yield Update("screen", (), 0, plan.num_frames)
        num_frames = 0
        with closing(WorkerProcess(info.path.name, message, payload, long, role=ROLE)) as worker:
            while (reply := worker.receive()[0])["kind"] == "frame":
                signs.add(reply["seconds"], reply["seen"])
                num_frames += 1
                yield Update("screen", signs.lines, min(num_frames, plan.num_frames - 0.5), plan.num_frames)
    notes = () if signs.lines else (f"No text was found in {num_frames} frames of {info.path.name}.",)
    yield Update("screen", signs.lines, plan.num_frames, plan.num_frames, notes)


@dataclass
class Sign:
    """A line of text that is seen in one or several frames in succession."""

    text: str
    score: float
    start: float
    end: float
    top: float


class Signs:
    """Joins what is seen in successive frames.

    A line lasts from the first frame that shows it to the first one that does not, so both ends are late by at most
    one sampling step.
    """

    def __init__(self, plan: FramePlan) -> None:
        self._end = plan.end_seconds
        self._next = dict(zip(plan.seconds, [*plan.seconds[1:], max(plan.end_seconds, plan.seconds[-1])], strict=True))
        self._shown: list[Sign] = []  # in the last frame
        self._all: list[Sign] = []

    def add(self, seconds: float, seen: Sequence[Seen]) -> None:
        """The next frame."""
        before, self._shown = self._shown, []
        for text, score, (_, top, _, _) in seen:
            same = max(before, key=lambda sign: similarity(sign.text, text), default=None)
            if same is None or similarity(same.text, text) < MIN_SIMILARITY:
                same = Sign(text, score, seconds, seconds, top)
                self._all.append(same)
            else:
                before.remove(same)
            same.end = self._next[seconds]
            if score > same.score:
                same.text, same.score = text, score
            self._shown.append(same)

    @property
    def lines(self) -> tuple[Line, ...]:
        """In the order of time, and of equal times from top to bottom."""
        ordered = sorted(self._all, key=lambda sign: (sign.start, sign.top))
        return tuple(Line(sign.start, sign.end, sign.text, "screen") for sign in ordered)


def similarity(left: str, right: str) -> float:
    """How much of two lines is equal, 0 to 100. Short lines, and numbers in lines, must be equal.

    >>> similarity("Page 12 of 30", "Page 13 of 30"), similarity("Departures", "Departures")
    (0.0, 100.0)
    """
    if left == right or min(len(left), len(right)) < MIN_FUZZY_LETTERS or DIGIT.findall(left) != DIGIT.findall(right):
        return 100.0 if left == right else 0.0
    from rapidfuzz import fuzz

    return fuzz.ratio(left, right)
