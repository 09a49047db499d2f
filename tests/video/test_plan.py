"""Sampling matches the reference; invalid budgets and ranges are rejected in one line with a remedy."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import FramePlan, VideoInfo, plan_frames

TABLE = json.loads((Path(__file__).parents[1] / "data" / "frame_index.json").read_text())


def video(num_frames: int, seconds: np.ndarray | None = None, fps: float = 25.0) -> VideoInfo:
    times = np.arange(num_frames) / fps if seconds is None else seconds
    return VideoInfo(
        Path("clip.mp4"), num_frames, fps, float(times[-1]) + 1 / fps, 320, 240, "h264", 0, "mp4", 1000, times
    )


@pytest.mark.parametrize(("total", "budget", "indices"), TABLE["rows"])
def test_same_frames_as_reference(total: int, budget: int, indices: list[int]) -> None:
    plan = plan_frames(video(total), budget)
    if budget > total:
        assert plan.indices == tuple(range(total))
        assert "has only" in plan.note
    else:
        assert list(plan.indices) == indices
        assert plan.note == ""


def test_seconds_are_those_of_the_frames() -> None:
    times = np.array([0.0, 0.1, 0.9, 1.0, 5.0])
    plan = plan_frames(video(5, times), 3)
    assert plan.indices == (0, 2, 4)
    assert plan.seconds == (0.0, 0.9, 5.0)
    assert plan.num_frames == 3
    assert plan.seconds_between == pytest.approx(2.5)


def test_range_is_half_open() -> None:
    plan = plan_frames(video(100), 100, 1.0, 2.0)
    assert plan.indices == tuple(range(25, 50))
    assert (plan.start_seconds, plan.end_seconds) == (1.0, 2.0)
    assert plan.note == "the range has only 25 frames; all are used"
    assert plan_frames(video(100), 3, 1.0, 2.0).indices == (25, 37, 49)
    assert plan_frames(video(100), 2, 3.0).indices == (75, 99)


def test_end_after_the_video_is_moved_there() -> None:
    plan = plan_frames(video(100), 2, 2.0, 60.0)
    assert plan.indices == (50, 99)
    assert plan.end_seconds == 4.0
    assert plan.note == "the video ends at 4.00 s"


def test_offset_video_keeps_its_timeline() -> None:
    """A first frame at 5 s: the default range includes it, and a range before it contains no frame."""
    info = video(50, 5 + np.arange(50) / 25)
    assert plan_frames(info, 2).seconds == (5.0, 6.96)
    with pytest.raises(VideoError, match=r"has no frame between 1.000 and 2.000 s; widen"):
        plan_frames(info, 2, 1.0, 2.0)


def test_single_frame() -> None:
    plan = plan_frames(video(1), 32)
    assert plan.indices == (0,)
    assert plan.note == "the video has only 1 frame"
    assert plan.seconds_between == pytest.approx(0.04)


@pytest.mark.parametrize("budget", [0, -1, 2.5, True, "8", None, math.nan, math.inf])
def test_bad_budget(budget: Any) -> None:
    with pytest.raises(VideoError, match=r" is not a valid frame budget; use a whole number of frames, 1 or more"):
        plan_frames(video(100), budget)


def test_whole_float_budget() -> None:
    """Sliders and JSON produce 8.0."""
    assert plan_frames(video(100), 8.0).num_frames == 8  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end", "line"),
    [
        (-1.0, None, "-1 s is not a valid start of the range; use 0 s or later"),
        (0.0, -2.0, "-2 s is not a valid end of the range; use 0 s or later"),
        (2.0, 1.0, "starts at 2 s and ends at 1 s; choose an end after the start"),
        (2.0, 2.0, "choose an end after the start"),
        (0.0, 0.0, "choose an end after the start"),
        (4.0, None, "starts at 4 s, but clip.mp4 is 4.00 s long; choose a start within the video"),
        (99.0, 100.0, "choose a start within the video"),
        (math.nan, None, "nan is not a valid start of the range; use a number of seconds"),
        (0.0, math.inf, "inf is not a valid end of the range; use a number of seconds"),
        ("1", None, "'1' is not a valid start of the range; use a number of seconds"),
        (None, None, "None is not a valid start of the range"),
        (0.0, True, "True is not a valid end of the range"),
        (1.01, 1.02, r"clip.mp4 has no frame between 1.010 and 1.020 s; widen the range"),
    ],
)
def test_bad_range(start: Any, end: Any, line: str) -> None:
    with pytest.raises(VideoError, match=line):
        plan_frames(video(100), 4, start, end)


@pytest.mark.parametrize("indices", [(), (3, 2), (1, 1), (-1, 0)])
def test_plan_checks_itself(indices: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        FramePlan(indices, tuple(float(index) for index in indices), 0.0, 1.0)
