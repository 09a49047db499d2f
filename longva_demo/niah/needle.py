"""What is hidden, and what is asked about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from longva_demo.errors import DemoError


@dataclass(frozen=True, eq=False)  # equal only to itself: each is encoded once per run
class Footage:
    """Pictures of one size that are hidden together: one, or the frames of a clip in their order."""

    pictures: tuple[Image.Image, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (frames, height, width, 3)."""
        return np.stack([np.asarray(picture) for picture in self.pictures])


@dataclass(frozen=True)
class Asked:
    """A question, its answer, and the parts of the needle that show it."""

    question: str
    answer: str
    parts: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Needle:
    """Parts are hidden at different places, in this order. A cell is right if all its questions are.

    distractor: a near miss, similar to the needle, with another answer.
    """

    name: str
    parts: tuple[Footage, ...]
    asked: tuple[Asked, ...]
    distractor: Footage | None = None

    @classmethod
    def single(
        cls, name: str, footage: Footage, question: str, answer: str, distractor: Footage | None = None
    ) -> "Needle":
        """A needle of one part with one question."""
        return cls(name, (footage,), (Asked(question, answer),), distractor)

    @property
    def picture(self) -> Image.Image:
        """The first picture, to show what is hidden."""
        return self.parts[0].pictures[0]


def join(needles: Sequence[Needle]) -> Needle:
    """One needle that hides and asks what these do."""
    parts: list[Footage] = []
    asked: list[Asked] = []
    for needle in needles:
        shift = len(parts)
        asked += [replace(one, parts=tuple(shift + part for part in one.parts)) for one in needle.asked]
        parts += needle.parts
    return Needle(" + ".join(needle.name for needle in needles), tuple(parts), tuple(asked))


def groups(needles: Sequence[Needle], size: int) -> list[Needle]:
    """As many groups of `size` needles as there are needles. Each needle is in `size` of them.

    Raises:
        DemoError: there are fewer needles than that.
    """
    count = len(needles)
    if not 2 <= size <= count:
        raise DemoError(f"{size} needles cannot be hidden together", f"use a number from 2 to {count}")
    return [join([needles[(size * first + index) % count] for index in range(size)]) for first in range(count)]
