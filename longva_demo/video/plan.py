"""Choose the frames that the model sees: the reference's uniform sampling, over the video or a range of it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video.probe import VideoInfo


@dataclass(frozen=True)
class FramePlan:
    """The frames to decode, ascending, without repeats.

    indices: frame numbers in display order; the first frame of the video is 0.
    seconds: presentation time of each frame, on the timeline of `VideoInfo.frame_seconds`.
    start_seconds, end_seconds: the sampled range.
    note: what the user should know about the plan; may be empty.
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
        """Mean interval between sampled frames; for a single frame, the length of the range."""
        if self.num_frames == 1:
            return self.end_seconds - self.start_seconds
        return (self.seconds[-1] - self.seconds[0]) / (self.num_frames - 1)


def plan_frames(
    info: VideoInfo, budget: int, start_seconds: float = 0.0, end_seconds: float | None = None
) -> FramePlan:
    """Choose `budget` evenly spaced frames with times in [start_seconds, end_seconds).

    The choice is `numpy.linspace(0, n - 1, budget, dtype=int)` over the n frames of the range, as in the reference.
    It always includes the first and last frame of the range; without an end, the range includes the video's last
    frame. Example: 10 frames, budget 4 → 0, 3, 6, 9. A budget above n selects all n frames, and an end after the
    end of the video is moved there; the note says so.

    Raises:
        VideoError: the budget is not a whole number above 0, or the range is not numeric, is negative, empty, outside
            the video or contains no frame.
    """
    budget = _whole_budget(budget)
    start, end = _checked_range(info, start_seconds, end_seconds)
    first, last = frames_in_range(info, start, end)
    num_in_range = last - first
    shown_end = info.duration_seconds if end is None else end
    if num_in_range <= 0:
        raise VideoError(
            f"{info.path.name} has no frame between {start:.3f} and {shown_end:.3f} s",
            f"widen the range; the video has {info.fps:.3g} frames per second",
        )
    notes = []
    if end_seconds is not None and end_seconds > info.duration_seconds + 0.5:
        notes.append(f"the video ends at {info.duration_seconds:.2f} s")
    if budget > num_in_range:
        where = "video" if num_in_range == info.num_frames else "range"
        frames = "1 frame" if num_in_range == 1 else f"{num_in_range} frames; all are used"
        notes.append(f"the {where} has only {frames}")
        budget = num_in_range
    indices = first + np.linspace(0, num_in_range - 1, budget, dtype=int)
    seconds = info.frame_seconds[indices]
    return FramePlan(tuple(indices.tolist()), tuple(seconds.tolist()), start, shown_end, "; ".join(notes))


def frames_in_range(info: VideoInfo, start_seconds: float, end_seconds: float | None) -> tuple[int, int]:
    """Frame numbers (first, last + 1) of the frames in [start_seconds, end_seconds)."""
    first = int(np.searchsorted(info.frame_seconds, start_seconds, side="left")) if start_seconds > 0 else 0
    if end_seconds is None or end_seconds >= info.duration_seconds:
        return first, info.num_frames
    return first, int(np.searchsorted(info.frame_seconds, end_seconds, side="left"))


def _whole_budget(budget: Any) -> int:
    whole = isinstance(budget, int | np.integer) or (isinstance(budget, float) and budget.is_integer())
    if isinstance(budget, bool) or not whole or budget < 1:
        raise VideoError(f"{budget!r} is not a valid frame budget", "use a whole number of frames, 1 or more")
    return int(budget)


def _checked_range(info: VideoInfo, start: Any, end: Any) -> tuple[float, float | None]:
    """Return (start, end) in seconds; end is None if the range reaches the end of the video."""
    for name, value in (("start", start), ("end", end)):
        if value is None and name == "end":
            continue
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise VideoError(f"{value!r} is not a valid {name} of the range", "use a number of seconds")
        if value < 0:
            raise VideoError(f"{value:g} s is not a valid {name} of the range", "use 0 s or later")
    length = f"{info.path.name} is {info.duration_seconds:.2f} s long"
    if end is not None and end <= start:
        raise VideoError(f"the range starts at {start:g} s and ends at {end:g} s", "choose an end after the start")
    if start > 0 and start >= info.duration_seconds:
        raise VideoError(f"the range starts at {start:g} s, but {length}", "choose a start within the video")
    if end is not None and end >= info.duration_seconds:
        end = None
    return float(start), None if end is None else float(end)
