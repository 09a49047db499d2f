"""Where the parts of a needle are hidden in the haystack of a cell."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from longva_demo.niah.grid import Cell
from longva_demo.niah.needle import Asked, Footage, Needle
from longva_demo.timed_text import Line

PERIOD = 200  # frames from a needle to its distractors, as published
WINDOW = 0.2  # share of the haystack among which several needles are hidden, as published


@dataclass(frozen=True)
class Hidden:
    """Footage in a haystack.

    position: the number of frames of the haystack before it.
    part: the number of the needle's part; None for a distractor.
    """

    footage: Footage
    position: int
    part: int | None


@dataclass(frozen=True)
class Trial:
    """What a cell hides, in the order of the video, and asks. `lines`: what is said in the video."""

    hidden: tuple[Hidden, ...]
    asked: tuple[Asked, ...]
    lines: tuple[Line, ...] = ()

    @property
    def num_frames(self) -> int:
        """Frames that are hidden."""
        return sum(len(one.footage) for one in self.hidden)

    def frames_of(self, parts: Collection[int]) -> set[int]:
        """The numbers of the frames that show these parts, counted in the haystack with everything hidden in it."""
        numbers: set[int] = set()
        before = 0
        for one in self.hidden:
            if one.part in parts:
                numbers |= set(range(one.position + before, one.position + before + len(one.footage)))
            before += len(one.footage)
        return numbers


Hide = Callable[[Cell, Needle], Trial]


def at_depth(cell: Cell, needle: Needle) -> Trial:
    """At the depth of the cell, as in V-NIAH (arXiv 2406.16852, section 4.2)."""
    return place(needle, [cell.position] * len(needle.parts))


def with_distractors(number: int, seed: int) -> Hide:
    """At the depth of the cell, with near misses of the needle before and after it, as in V-NIAH-D.

    The published test (arXiv 2502.05173, section 4; eval_vision_niah_interrupt.py of its code) hides one, 200 frames
    before or after the needle, where that fits. More are hidden at the next multiples of 200.
    """

    def hide(cell: Cell, needle: Needle) -> Trial:
        trial = at_depth(cell, needle)
        if needle.distractor is None:
            return trial
        positions = distractor_positions(cell, number, rng_of(cell, seed))
        near = [Hidden(needle.distractor, position, None) for position in positions]
        return Trial(tuple(sorted([*trial.hidden, *near], key=lambda one: one.position)), trial.asked)

    return hide


def distractor_positions(cell: Cell, number: int, rng: random.Random) -> list[int]:
    """Up to `number` positions, the nearest first; the side is random.

    >>> distractor_positions(Cell(frames=500, depth=0.0, needle=0), 9, random.Random(0))
    [200, 400]
    """
    distances = range(PERIOD, cell.frames + 1, PERIOD)
    positions = [cell.position + side * distance for distance in distances for side in rng.sample((-1, 1), 2)]
    return [position for position in positions if 0 <= position <= cell.frames][:number]


def within_window(seed: int) -> Hide:
    """At random places within a fifth of the haystack, as V-RULER's multi-key multi-value task.

    The source is eval_v_ruler_multi_key_multi_value.py of VideoRoPE++'s code. Depth 0 is the first fifth, 1 the last.
    """

    def hide(cell: Cell, needle: Needle) -> Trial:
        rng = rng_of(cell, seed)
        first, width = int(cell.depth * (1 - WINDOW) * cell.frames), max(1, int(WINDOW * cell.frames))
        return place(needle, sorted(rng.randrange(first, first + width) for _ in needle.parts))

    return hide


def spread_evenly(cell: Cell, needle: Needle) -> Trial:
    """Evenly over the whole haystack, whatever the depth, as V-RULER's counting and ordering tasks.

    The source is eval_v_ruler_counting.py of VideoRoPE++'s code: each part follows a frame of `np.linspace`.
    """
    return place(needle, (np.linspace(0, cell.frames - 1, len(needle.parts), dtype=int) + 1).tolist())


def place(needle: Needle, positions: list[int]) -> Trial:
    hidden = [Hidden(*one, part) for part, one in enumerate(zip(needle.parts, positions, strict=True))]
    return Trial(tuple(hidden), needle.asked)


def rng_of(cell: Cell, seed: int) -> random.Random:
    return random.Random(f"{seed} {cell}")
