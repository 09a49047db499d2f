"""Where a video changes scene: samples that differ much from the ones before, made sharper down to the frame.

Samples are compared by small pictures of the pixels that the model is given: hue, saturation and brightness of 32 × 32
points, as PySceneDetect compares neighbouring frames.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from longva_demo.chat import VideoSource
from longva_demo.video import FramePlan

SKETCH_SIDE = 32
# A mean difference of so many levels (of 256) is a cut, if it is also several times that of the samples around it:
# where everything moves, nothing is cut.
MIN_DIFFERENCE, MIN_CONTRAST = 18.0, 2.0
MAX_ROUNDS = 20  # halves a gap of hours down to a frame
NEIGHBOURS = 3  # samples on either side that a difference is compared with
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Sketch:
    """A small picture of a frame: hue, saturation and brightness, int16 (SKETCH_SIDE, SKETCH_SIDE, 3)."""

    index: int
    seconds: float
    levels: np.ndarray

    def difference(self, other: "Sketch") -> float:
        """The mean difference in levels; hue is a circle."""
        apart = np.abs(self.levels - other.levels)
        apart[..., 0] = np.minimum(apart[..., 0], 256 - apart[..., 0])
        return float(apart.mean())


@dataclass(frozen=True)
class Cut:
    """The scene changes after the frame `before`, at the latest with the frame `after`."""

    before: Sketch
    after: Sketch


def make_sketch(index: int, seconds: float, pixels: np.ndarray) -> Sketch:
    """Of a frame, uint8 (S, S, 3)."""
    small = Image.fromarray(pixels).resize((SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.BOX)
    return Sketch(index, seconds, np.asarray(small.convert("HSV")).astype(np.int16))


def find_cuts(sketches: Sequence[Sketch]) -> list[Cut]:
    """The cuts between samples, in order."""
    apart = np.array([one.difference(other) for one, other in pairwise(sketches)])
    cuts = []
    for at, value in enumerate(apart):
        around = np.delete(apart[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1], min(at, NEIGHBOURS))
        usual = float(np.median(around)) if len(around) else 0.0
        if value >= MIN_DIFFERENCE and value >= MIN_CONTRAST * usual:
            cuts.append(Cut(sketches[at], sketches[at + 1]))
    return cuts


def sharpen(source: VideoSource, cuts: Sequence[Cut], precision_seconds: float, should_stop: Stop) -> list[Cut]:
    """Halve the gaps of all cuts together until each is at most `precision_seconds`, or one frame."""
    current = list(cuts)
    for _ in range(MAX_ROUNDS):
        middles = {
            (cut.before.index + cut.after.index) // 2: number
            for number, cut in enumerate(current)
            if cut.after.seconds - cut.before.seconds > precision_seconds and cut.after.index - cut.before.index > 1
        }
        if not middles or should_stop():
            break
        indices = sorted(middles)
        seconds = source.info.frame_seconds[indices]
        plan = FramePlan(tuple(indices), tuple(seconds.tolist()), source.plan.start_seconds, source.plan.end_seconds)
        with closing(source.other_frames(plan)) as batches:
            for batch, pixels in batches:
                for index, when, one in zip(batch.indices, batch.seconds, pixels, strict=True):
                    number, middle = middles[index], make_sketch(index, when, one)
                    current[number] = narrowed(current[number], middle)
    return current


def narrowed(cut: Cut, middle: Sketch) -> Cut:
    """The half of the gap in which the scene changes: `middle` belongs to the scene that it resembles."""
    if middle.difference(cut.before) < middle.difference(cut.after):
        return Cut(middle, cut.after)
    return Cut(cut.before, middle)
