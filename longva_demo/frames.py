"""Sampled frames in Python, without a model: `longva.sample` and `longva.decode`."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longva_demo.settings import Settings
from longva_demo.times import to_seconds
from longva_demo.video import FramePlan, VideoInfo, decode_frames, plan_frames, probe

NUM_FRAMES = Settings().num_frames


@dataclass(frozen=True)
class Frame:
    """One decoded frame."""

    pixels: np.ndarray
    """uint8 (height, width, 3), RGB, rotated as displayed"""
    index: int
    """frame number in the video, from 0"""
    seconds: float
    """its presentation time"""


def sample(
    path: str | Path, frames: int = NUM_FRAMES, start: float | str = 0.0, end: float | str | None = None
) -> FramePlan:
    """The frames that a budget samples: `indices` and `seconds`, one entry per frame. Nothing is decoded.

    Args:
        path: a video file.
        frames: how many frames to sample at most.
        start, end: the range to sample from, in seconds or as "h:mm:ss".

    Raises:
        DemoError: the file cannot be used, or the range is outside it.
    """
    return probe_and_plan(Path(path), frames, start, end)[1]


def decode(
    path: str | Path, frames: int = NUM_FRAMES, start: float | str = 0.0, end: float | str | None = None
) -> Iterator[Frame]:
    """Decode the frames that `sample` names, in order. Frames that cannot be decoded are left out.

    Raises:
        DemoError: as `sample`, or no frame can be decoded.
    """
    info, plan = probe_and_plan(Path(path), frames, start, end)
    with closing(decode_frames(info.path, plan, info=info)) as batches:  # type: ignore[type-var]
        for batch in batches:
            yield from map(Frame, batch.pixels, batch.indices, batch.seconds)


def probe_and_plan(path: Path, frames: int, start: float | str, end: float | str | None) -> tuple[VideoInfo, FramePlan]:
    info = probe(path)
    return info, plan_frames(info, frames, to_seconds(start), None if end is None else to_seconds(end))
