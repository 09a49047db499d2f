"""When does it happen: the question put to each sampled frame, ranges from the curve, and sharper edges."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

import torch

from longva_demo.chat import Engine, LocalEngine, Progress, Stage, VideoSource
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES, source_features
from longva_demo.errors import DemoError, VideoError
from longva_demo.moments.curve import (
    Range,
    ScoredFrame,
    Times,
    find_ranges,
    frames_at_edges,
    merge,
    threshold_of,
)
from longva_demo.moments.question import YesNoQuestion, check_query
from longva_demo.video import FramePlan, VideoInfo, frames_in_range

# The default budget, and the default precision of the edges of a range.
NUM_FRAMES, PRECISION_SECONDS = 256, 1.0
MAX_WINDOW = 16
DEFAULT_SECONDS = 60.0  # on a slow processor, where the budget is not chosen
# After so many rounds around the edges the halves are shorter than any precision.
MAX_ROUNDS = 12
# If yes and no are less probable together, the model has answered something else, such as that it does not know.
MIN_ANSWERED = 0.5
UNSURE = "The model answered neither yes nor no about most frames: it may not know what was asked for."
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Search:
    """What to look for: a thing ("a red star") or a question with the answer yes or no.

    precision_seconds: how well the ends of a range should be known.
    window: how many consecutive samples are shown at a time. One frame cannot show a motion.
    """

    query: str
    precision_seconds: float = PRECISION_SECONDS
    window: int = 1

    def __post_init__(self) -> None:
        """Raises DemoError if the query is empty or too long, or a number is not possible."""
        check_query(self.query)
        if not (math.isfinite(self.precision_seconds) and self.precision_seconds > 0):
            raise DemoError(f"{self.precision_seconds} s is not a valid precision", "use a number of seconds above 0")
        if not 1 <= self.window <= MAX_WINDOW:
            raise DemoError(f"a window of {self.window} frames is not possible", f"use 1 to {MAX_WINDOW}")

    @classmethod
    def from_fields(cls, query: str | None, precision_seconds: float, window: float) -> Self:
        """As it came over HTTP. Raises DemoError as the constructor, or if `window` is not a whole number."""
        if not float(window).is_integer():
            raise DemoError(f"a window of {window} frames is not possible", f"use 1 to {MAX_WINDOW}")
        return cls(query or "", precision_seconds, int(window))


@dataclass(frozen=True)
class Moments:
    """What a search has found so far. `progress` is None once it is complete."""

    frames: tuple[ScoredFrame, ...] = ()
    ranges: tuple[Range, ...] = ()
    progress: Progress | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    is_unsure: bool = False
    """whether the model answered neither yes nor no about most frames"""

    def to_dict(self) -> dict[str, Any]:
        """For JSON: "frames" and "ranges"."""
        return {"frames": [asdict(frame) for frame in self.frames], "ranges": [asdict(one) for one in self.ranges]}


class Finder(Protocol):
    """`find_moments` with an engine. `session` is the name of the page's session, for the log; None without a page."""

    def __call__(
        self, source: VideoSource, search: Search, should_stop: Stop, session: str | None
    ) -> Generator[Moments]: ...


def default_frames(engine: Engine) -> int:
    """The budget where none is chosen: on a slow processor what takes about a minute."""
    estimate = engine.model.estimate
    return NUM_FRAMES if estimate is None else min(NUM_FRAMES, estimate.frames_within(DEFAULT_SECONDS))


def find_moments(engine: LocalEngine, source: VideoSource, search: Search, should_stop: Stop) -> Generator[Moments]:
    """Ask about each window of the source's frames on its own, then about more frames around the edges of ranges.

    Yields what is found so far after each chunk of frames. The source's features are shared with chats about it. Ends
    early within one step of the model once `should_stop()` turns true; the last `Moments` then has its progress.

    Raises:
        VideoError: no frame can be decoded.
    """
    scan = Scan(engine, source, YesNoQuestion.about(search.query, engine), search)
    yield from scan.sampled_frames(should_stop)
    for _ in range(MAX_ROUNDS):
        indices = scan.wanted()
        if not indices or should_stop():
            break
        yield from scan.more_frames(indices, should_stop)
    yield scan.result(None if scan.is_complete and not should_stop() else scan.progress)


class Scan:
    """A running search. The edges may use as many frames in all as the source has."""

    def __init__(self, engine: LocalEngine, source: VideoSource, question: YesNoQuestion, search: Search) -> None:
        self.is_complete = False
        self.progress = Progress(Stage.SAMPLING, 0, source.num_frames)
        self._engine = engine
        self._source = source
        self._question = question
        self._search = search
        self._times = searched_times(source.info, source.plan)
        self._frames: list[ScoredFrame] = []
        self._features: dict[int, torch.Tensor] = {}  # by frame index, only if windows have several frames
        self._threshold = 0.5
        self._num_unanswered = 0
        self._num_left = source.num_frames  # of the budget for edges

    def result(self, progress: Progress | None) -> Moments:
        ranges = find_ranges(self._frames, self._threshold, self._times)
        is_unsure = 2 * self._num_unanswered > len(self._frames)
        notes = (*self._source.notes, *([UNSURE] if is_unsure else []))
        return Moments(tuple(self._frames), tuple(ranges), progress, notes, is_unsure)

    def sampled_frames(self, should_stop: Stop) -> Iterator[Moments]:
        """Score the source's frames as they are decoded."""
        source, waiting = self._source, 0
        with closing(source_features(self._engine, source, should_stop)) as chunks:  # type: ignore[type-var]
            for features in chunks:
                if should_stop():
                    return
                if features is None:
                    self.progress = Progress(Stage.SAMPLING, len(source.indices), source.num_frames)
                else:
                    refs = source.frame_refs[waiting : waiting + len(features)]
                    waiting += len(features)
                    self._score([ref.index for ref in refs], [ref.seconds for ref in refs], features, should_stop)
                    self.progress = Progress(Stage.WINDOWS, len(self._frames), source.num_frames)
                yield self.result(self.progress)
        if should_stop():
            return
        if not self._frames:
            raise VideoError(f"no frame of {source.path.name} could be decoded", "try another video")
        self._threshold = threshold_of([frame.score for frame in self._frames])
        self.is_complete = True

    def wanted(self) -> list[int]:
        """Indices of the frames that make the edges of the ranges sharper."""
        return frames_at_edges(
            self._frames, self._threshold, self._times, self._search.precision_seconds, self._num_left
        )

    def more_frames(self, indices: Sequence[int], should_stop: Stop) -> Iterator[Moments]:
        """Decode and score other frames of the video."""
        seconds = self._times.frame_seconds[list(indices)]
        plan = FramePlan(tuple(indices), tuple(seconds.tolist()), self._times.start_seconds, self._times.end_seconds)
        self._num_left -= len(indices)
        done = 0
        with closing(self._source.other_frames(plan)) as batches:
            for batch, pixels in batches:
                for first in range(0, len(batch), PREFILL_CHUNK_FRAMES):
                    if should_stop():
                        return
                    part = slice(first, first + PREFILL_CHUNK_FRAMES)
                    features = self._engine.encode_frames(pixels[part])
                    self._score(batch.indices[part], batch.seconds[part], features, should_stop)
                done += len(batch)
                self.progress = Progress(Stage.WINDOWS, done, len(indices))
                yield self.result(self.progress)

    def _score(
        self, indices: Sequence[int], seconds: Sequence[float], features: torch.Tensor, should_stop: Stop
    ) -> None:
        """Ask about each of the frames with these `features` (frames, tokens_per_frame, dim)."""
        tokens = (*self._question.yes, *self._question.no)
        windows = self._windows(indices, features)
        scores: list[float] = []
        for log_probs in self._engine.window_log_probs(windows, self._question.ids, tokens):
            probs = log_probs.exp()
            yes = probs[:, : len(self._question.yes)].sum(1)
            answered = probs.sum(1)
            self._num_unanswered += int((answered < MIN_ANSWERED).sum())
            scores += torch.where(answered < MIN_ANSWERED, 0.0, yes / answered).tolist()
            if should_stop():
                break
        new = [ScoredFrame(*one) for one in zip(indices, seconds, scores, strict=False)]
        self._frames = merge(self._frames, new)

    def _windows(self, indices: Sequence[int], features: torch.Tensor) -> torch.Tensor:
        """(frames, window, tokens_per_frame, dim): each frame among its neighbours, as far as they are known."""
        if self._search.window == 1:
            return features[:, None]
        self._features |= dict(zip(indices, features.cpu(), strict=True))
        known = sorted(self._features)
        size = min(self._search.window, len(known))
        windows = []
        for index in indices:
            first = known.index(index) - size // 2
            first = min(max(0, first), len(known) - size)
            windows.append(torch.stack([self._features[one] for one in known[first : first + size]]))
        return torch.stack(windows)


def searched_times(info: VideoInfo, plan: FramePlan) -> Times:
    """The times of all frames, and the range that the plan samples."""
    first, last = frames_in_range(info, plan.start_seconds, plan.end_seconds)
    start = 0.0 if first == 0 else float(info.frame_seconds[first])
    end = info.duration_seconds if last == info.num_frames else float(info.frame_seconds[last])
    return Times(info.frame_seconds, start, end)
