"""A needle of text: one line among a video's subtitles, for a model that is given fitting lines with a question.

VNBench (arXiv 2406.09367) has needles of text too; they are drawn on the frames.
"""

import random
from collections.abc import Sequence

from longva_demo.niah.grid import Cell
from longva_demo.niah.hiding import Hide, Trial, rng_of
from longva_demo.niah.needle import Asked, Needle
from longva_demo.timed_text import Line

QUESTION = "What is the secret word? Answer with one word."
WORDS = (
    *("Alice", "Robert", "Maria", "Oliver", "Emma", "Daniel", "Sofia", "Henry", "Grace", "Victor"),
    *("Julia", "Simon", "Laura", "Peter", "Helen", "Martin", "Nina", "Oscar", "Paula", "Felix"),
)
LINE_FRAMES = 4  # of one second each
WHO = ("The driver", "My neighbour", "A girl in a coat", "The teacher", "Our guide", "The old man", "Her brother")
DOES = ("opens", "carries", "paints", "looks for", "repairs", "forgets", "sells", "points at")
WHAT = ("the window", "a wooden box", "the red bicycle", "three letters", "an umbrella", "the map", "a bag of apples")
WHERE = ("at the station", "in the kitchen", "behind the house", "near the river", "before dinner", "after the rain")


def line_needles() -> list[Needle]:
    """Nothing is hidden among the frames."""
    return [Needle(word, (), (Asked(QUESTION, word, ()),)) for word in WORDS]


def among_lines(seed: int) -> Hide:
    """One line every four frames; the line at the depth of the cell tells the word."""

    def hide(cell: Cell, needle: Needle) -> Trial:
        rng = rng_of(cell, seed)
        texts = [sentence(rng) for _ in range(0, cell.frames, LINE_FRAMES)]
        texts[min(cell.position // LINE_FRAMES, len(texts) - 1)] = f"The secret word is {needle.name}."
        return Trial((), needle.asked, tuple(timed(texts)))

    return hide


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(words) for words in (WHO, DOES, WHAT, WHERE)) + "."


def timed(texts: Sequence[str]) -> list[Line]:
    starts = [float(LINE_FRAMES * number) for number in range(len(texts))]
    return [Line(start, start + LINE_FRAMES, text, "subtitles") for start, text in zip(starts, texts, strict=True)]
