"""Which frames the model sees: the reference's uniform sampling, over the whole video or a range of it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video.probe import VideoInfo


@dataclass(frozen=True)
class FramePlan:
    """The frames to decode, ascending, each once.

    indices: numbers of the frames in display order, the first frame of the video is 0.
    seconds: presentation time of each, on the clock of `VideoInfo.frame_seconds`.
    start_seconds, end_seconds: the range that was sampled.
    note: what the user should know about the plan; empty when there is nothing to say.
    """

    indices: tuple[int, ...]
    seconds: tuple[float, ...]
    start_seconds: float
    end_seconds: float
    note: str = ""

    def __post_init__(self) -> None:
        assert len(self.indices) == len(self.seconds) > 0, "a plan has at least one frame and a time for each"
        pairs = zip(self.indices, self.indices[1:], strict=False)
        assert self.indices[0] >= 0, self.indices[0]
        assert all(left < right for left, right in pairs), "indices must ascend"

    @property
    def num_frames(self) -> int:
        return len(self.indices)

    @property
    def seconds_between(self) -> float:
        """Mean time from one sampled frame to the next; for a single frame the length of the range."""
        if self.num_frames == 1:
            return self.end_seconds - self.start_seconds
        return (self.seconds[-1] - self.seconds[0]) / (self.num_frames - 1)


def plan_frames(
    info: VideoInfo, budget: int, start_seconds: float = 0.0, end_seconds: float | None = None
) -> FramePlan:
    """Choose `budget` frames evenly among those whose times lie in [start_seconds, end_seconds).

    The choice is `numpy.linspace(0, n - 1, budget, dtype=int)` over the n frames of the range, as in the
    reference; the first and the last frame are always among them, and without an end the last frame of the
    video counts in. Example: 10 frames, budget 4 → 0, 3, 6, 9. A budget above n takes each frame once, and
    the note says so. An end after the end of the video is moved there, and the note says so.

    Raises:
        VideoError: a budget that is no whole number above 0; a range that is no number, negative, empty, outside
            the video or without a frame.
    """
    budget = _whole_budget(budget)
    start, end = _checked_range(info, start_seconds, end_seconds)
    first, last = frames_in_range(info, start, end)
    num_in_range = last - first
    shown_end = info.duration_seconds if end is None else end
    if num_in_range <= 0:
        raise VideoError(
            f"no frame of {info.path.name} lies between {start:.3f} and {shown_end:.3f} s",
            f"widen the range; the video has {info.fps:.3g} frames a second",
        )
    notes = []
    if end_seconds is not None and end_seconds > info.duration_seconds + 0.5:
        notes.append(f"the video ends at {info.duration_seconds:.2f} s")
    if budget > num_in_range:
        where = "video" if num_in_range == info.num_frames else "range"
        frames = "1 frame, taken" if num_in_range == 1 else f"{num_in_range} frames; each is taken"
        notes.append(f"the {where} has only {frames} once")
        budget = num_in_range
    indices = first + np.linspace(0, num_in_range - 1, budget, dtype=int)
    seconds = info.frame_seconds[indices]
    return FramePlan(tuple(indices.tolist()), tuple(seconds.tolist()), start, shown_end, "; ".join(notes))


def frames_in_range(info: VideoInfo, start_seconds: float, end_seconds: float | None) -> tuple[int, int]:
    """Numbers of the first frame in [start_seconds, end_seconds) and of the one after the last."""
    first = int(np.searchsorted(info.frame_seconds, start_seconds, side="left")) if start_seconds > 0 else 0
    if end_seconds is None or end_seconds >= info.duration_seconds:
        return first, info.num_frames
    return first, int(np.searchsorted(info.frame_seconds, end_seconds, side="left"))


def _whole_budget(budget: Any) -> int:
    whole = isinstance(budget, int | np.integer) or (isinstance(budget, float) and budget.is_integer())
    if isinstance(budget, bool) or not whole or budget < 1:
        raise VideoError(f"the frame budget is {budget!r}", "use a whole number of frames, 1 or more")
    return int(budget)


def _checked_range(info: VideoInfo, start: Any, end: Any) -> tuple[float, float | None]:
    """Return (start, end) in seconds; end is None where the range reaches the end of the video."""
    for name, value in (("start", start), ("end", end)):
        if value is None and name == "end":
            continue
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise VideoError(f"the {name} of the range is {value!r}", "give it in seconds, as a number")
        if value < 0:
            raise VideoError(f"the {name} of the range is {value:g} s", "use 0 s or later")
    length = f"{info.path.name} is {info.duration_seconds:.2f} s long"
    if end is not None and end <= start:
        raise VideoError(f"the range ends at {end:g} s and starts at {start:g} s", "put the end after the start")
    if start > 0 and start >= info.duration_seconds:
        raise VideoError(f"the range starts at {start:g} s but {length}", "start inside the video")
    if end is not None and end >= info.duration_seconds:
        end = None
    return float(start), None if end is None else float(end)
