"""From the scores of sampled frames to ranges of time, and to the frames that would make their edges sharper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# The threshold is the middle between the scores of frames that show it and of those that do not, within these limits:
# a curve without a clear yes has no range, and one without a clear no is one range.
MIN_THRESHOLD, MAX_THRESHOLD = 0.35, 0.65
# A range has a frame about which the model is this sure: where it says yes by a narrow margin all along, it guesses.
MIN_PEAK = 0.7
# Two groups of scores are told apart only if their means differ by so much.
MIN_CONTRAST = 0.3
# The edges of a range are known to this share of its length, or to the precision that was asked for, if that is finer.
MAX_EDGE_SHARE = 0.1


@dataclass(frozen=True)
class ScoredFrame:
    """A frame, and how probable it is that the answer about it (and its window) is yes."""

    index: int
    """frame number in the video, from 0"""
    seconds: float
    """its presentation time"""
    score: float
    """from 0 to 1"""


@dataclass(frozen=True)
class Range:
    """A stretch of the video in which the answer is yes. Times are in seconds."""

    start: float
    end: float
    score: float
    """the mean of its frames' scores"""
    best: float
    """the time of the frame with the highest score; of several, the one nearest to the middle of the range"""


@dataclass(frozen=True)
class Times:
    """The presentation times of all frames of the video, (num_frames,), and the range that is searched, in seconds."""

    frame_seconds: np.ndarray
    start_seconds: float
    end_seconds: float

    def change(self, before: int, after: int) -> float:
        """When something changes between two frames: when the first frame after the change is shown.

        Of neighbours this is the time of `after`. Of others, the frame in the middle of those that it may be.
        """
        return float(self.frame_seconds[(before + 1 + after) // 2])


def threshold_of(scores: Sequence[float]) -> float:
    """The score from which on a frame shows it: between the two groups of scores that differ most (Otsu's method).

    >>> threshold_of([0.1, 0.2, 0.1, 0.9, 0.8])
    0.49
    >>> threshold_of([0.1, 0.2, 0.1])
    0.5
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    count = len(ordered)
    if count < 2:
        return 0.5
    sizes = np.arange(1, count)
    low = np.cumsum(ordered)[:-1] / sizes  # (splits,) the mean of the lower group
    high = (ordered.sum() - np.cumsum(ordered)[:-1]) / (count - sizes)
    best = int(np.argmax(sizes * (count - sizes) * (high - low) ** 2))
    if high[best] - low[best] < MIN_CONTRAST:
        return 0.5
    middle = (low[best] + high[best]) / 2
    return round(float(np.clip(middle, MIN_THRESHOLD, MAX_THRESHOLD)), 2)


@dataclass(frozen=True)
class Run:
    """Consecutive frames, [first, last] by position in the list of scored frames, that all show it."""

    first: int
    last: int


def find_runs(frames: Sequence[ScoredFrame], threshold: float) -> list[Run]:
    """The longest runs of frames with at least the threshold's score, and one with MIN_PEAK; `frames` ascend."""
    runs: list[Run] = []
    for position, frame in enumerate(frames):
        if frame.score < threshold:
            continue
        if runs and runs[-1].last == position - 1:
            runs[-1] = Run(runs[-1].first, position)
        else:
            runs.append(Run(position, position))
    return [run for run in runs if max(one.score for one in frames[run.first : run.last + 1]) >= MIN_PEAK]


def find_ranges(frames: Sequence[ScoredFrame], threshold: float, times: Times) -> list[Range]:
    """The runs of frames as ranges of time. A run at an end of what is searched begins or ends there."""
    ranges = []
    for run in find_runs(frames, threshold):
        inside = frames[run.first : run.last + 1]
        start, end = times.start_seconds, times.end_seconds
        if run.first > 0:
            start = times.change(frames[run.first - 1].index, inside[0].index)
        if run.last + 1 < len(frames):
            end = times.change(inside[-1].index, frames[run.last + 1].index)
        highest, middle = max(frame.score for frame in inside), (start + end) / 2
        best = min((f.seconds for f in inside if f.score == highest), key=lambda seconds: abs(seconds - middle))
        ranges.append(Range(start, end, float(np.mean([frame.score for frame in inside])), best))
    return ranges


def frames_at_edges(
    frames: Sequence[ScoredFrame], threshold: float, times: Times, precision: float, budget: int
) -> list[int]:
    """Indices of further frames, at most `budget`, between the two frames at each edge that is not known well enough.

    An edge is known if the frames around it are at most `precision` seconds apart, and a tenth of the range's length,
    or if they are neighbours in the video.
    """
    gaps: list[tuple[int, int, int]] = []  # frames (before, after), and how many more are wanted between them
    for run, found in zip(find_runs(frames, threshold), find_ranges(frames, threshold, times), strict=True):
        wanted = min(precision, MAX_EDGE_SHARE * (found.end - found.start))
        for before, after in ((run.first - 1, run.first), (run.last, run.last + 1)):
            if before < 0 or after >= len(frames):
                continue
            seconds = frames[after].seconds - frames[before].seconds
            num_between = frames[after].index - frames[before].index - 1
            if seconds > wanted and num_between > 0:
                count = min(num_between, math.ceil(seconds / wanted) - 1)
                gaps.append((frames[before].index, frames[after].index, count))
    gaps = sorted(set(gaps))
    indices: set[int] = set()
    for number, (before, after, count) in enumerate(gaps):
        share = min(count, max(1, (budget - len(indices)) // (len(gaps) - number)))
        indices.update(np.linspace(before, after, share + 2).round().astype(int)[1:-1].tolist())
    return sorted(indices)[:budget]


def merge(frames: Sequence[ScoredFrame], more: Sequence[ScoredFrame]) -> list[ScoredFrame]:
    """Both, ascending and without repeats."""
    merged = {frame.index: frame for frame in (*frames, *more)}
    ordered = [merged[index] for index in sorted(merged)]
    assert all(one.seconds <= other.seconds for one, other in pairwise(ordered))
    return ordered
