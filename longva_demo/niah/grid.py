"""The cells of a test: sizes of the haystack, depths and needles."""

import math
from dataclasses import dataclass

from longva_demo.errors import DemoError

PUBLISHED_FRAMES, PUBLISHED_DEPTHS = "200:3000:200", "0:1:0.2"

MAX_NUMBERS = 10_000  # of a list


@dataclass(frozen=True)
class Grid:
    """Haystack sizes and depths (0: the needle is first, 1: last)."""

    frames: tuple[int, ...]
    depths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1 or list(self.frames) != sorted(set(self.frames)):
            raise DemoError(
                f"{self.frames} are not valid haystack sizes", "use ascending numbers above 0, such as 200:3000:200"
            )
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            raise DemoError(f"{self.depths} are not valid depths", "use numbers from 0 to 1, such as 0:1:0.2")

    @classmethod
    def parse(cls, frames: str = PUBLISHED_FRAMES, depths: str = PUBLISHED_DEPTHS) -> "Grid":
        """Parse "first:last:step" or "one,two,…". The defaults are the published grid.

        >>> Grid.parse("16,64", "0:1:0.5")
        Grid(frames=(16, 64), depths=(0.0, 0.5, 1.0))
        """
        return cls(tuple(int(number) for number in parse_numbers(frames)), tuple(parse_numbers(depths)))

    def cells(self, num_needles: int) -> "list[Cell]":
        """All cells in the order of the run: the deepest position first, as its prefix serves the others."""
        depths = sorted(set(self.depths), reverse=True)
        return [Cell(n, depth, needle) for n in self.frames for depth in depths for needle in range(num_needles)]


def parse_numbers(text: str) -> list[float]:
    parts = text.split(":")
    try:
        if len(parts) != 3:
            numbers = [float(part) for part in text.split(",")]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
            return numbers
        first, last, step = map(float, parts)
        count = int((last - first) / step + 1e-6) + 1
        if not 0 < count <= MAX_NUMBERS:
            raise ValueError
        return [round(first + step * index, 6) for index in range(count)]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise DemoError(f"{text!r} is not a valid list of numbers", "use 200:3000:200 or 16,64,256") from None


@dataclass(frozen=True)
class Cell:
    """One question: the size of the haystack in frames, the depth of the needle, and the number of the needle."""

    frames: int
    depth: float
    needle: int

    @property
    def position(self) -> int:
        """The number of frames before the needle.

        >>> Cell(frames=200, depth=0.6, needle=0).position
        120
        """
        return int(round(self.depth * self.frames, 6))

    @property
    def work(self) -> int:
        """The approximate cost in frames: those from the needle on are prefilled for this cell alone."""
        return self.frames - self.position + 20
