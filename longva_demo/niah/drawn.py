"""Needles that are drawn for the built-in model. Only needles show numbers; the drawn haystack has none."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from longva_demo.niah.needle import Asked, Footage, Needle, join
from longva_demo.tiny.clips import colour_change, motion, needle_scene
from longva_demo.tiny.degrade import h264
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES, SYMBOLS, Mix, Scene

NUM_DRAWN = 20
DRAWN_SEED = 8_000_000  # not used in training or evaluation
DRAWN_SIDE = 336
COUNTS = (2, 0, 3, 1)
CLIP_FRAMES = (5, 10)  # of one second each, as TimeScope's needles
MARKED = Mix(symbol_share=1.0, letter_share=0.0, bare_share=0.0)


def drawn_needles(count: int = NUM_DRAWN) -> list[Needle]:
    """Scenes with a number on a coloured shape, with a near miss each. No two have the same shape and colour."""
    rng = random.Random(DRAWN_SEED)
    kinds = [(shape, colour) for shape in range(len(SHAPES)) for colour in range(len(COLOUR_NAMES))]
    needles = []
    for index, (shape, colour) in enumerate(rng.sample(kinds, count)):
        name, digit = f"{COLOUR_NAMES[colour]} {SHAPES[shape]}", index % len(DIGITS)
        question, answer = f"What number is on the {name}?", f"The number is {DIGITS[digit]}."
        footage = still(needle_scene(rng, shape, colour, digit))
        distractor = still(near_miss(random.Random(f"distractor {index}"), shape, colour, digit))
        needles.append(Needle.single(name, footage, question, answer, distractor))
    return needles


def near_miss(rng: random.Random, shape: int, colour: int, digit: int) -> Scene:
    """A scene with another number, on the same shape in another colour or on another shape in the same colour."""
    if rng.random() < 0.5:
        shape = (shape + rng.randrange(1, len(SHAPES))) % len(SHAPES)
    else:
        colour = (colour + rng.randrange(1, len(COLOUR_NAMES))) % len(COLOUR_NAMES)
    return needle_scene(rng, shape, colour, (digit + rng.randrange(1, len(DIGITS))) % len(DIGITS))


def drawn_counts() -> list[Needle]:
    """No to three pictures with a number, and how many there are."""
    pictures, needles = iter(2 * drawn_needles()), []
    for index in range(NUM_DRAWN):
        count = COUNTS[index % len(COUNTS)]
        parts = tuple(next(pictures).parts[0] for _ in range(count))
        asked = Asked("How many numbers appear in the video?", f"I count {count}.", tuple(range(count)))
        needles.append(Needle(f"{count} numbers, {index}", parts, (asked,)))
    return needles


def drawn_orders() -> list[Needle]:
    """Two pictures with different numbers, and which number comes first. It is named first in half of the questions."""
    needles, orders = drawn_needles(), []
    for index, first in enumerate(needles):
        second = needles[(index + 1 + index // len(DIGITS)) % len(needles)]
        both = join([first, second])
        numbers = [DIGITS[index % len(DIGITS)], DIGITS[needles.index(second) % len(DIGITS)]]
        named = numbers[:: -1 if index % 2 else 1]
        question = f"Which number comes first, the {named[0]} or the {named[1]}?"
        orders.append(replace(both, asked=(Asked(question, f"The number is {numbers[0]}.", (0, 1)),)))
    return orders


def drawn_clips() -> list[Needle]:
    """Clips of a numbered thing that moves or changes its colour. No single frame tells the answer."""
    rng = random.Random(DRAWN_SEED + 1)
    return [moving_needle(rng) if index % 2 == 0 else changing_needle(rng) for index in range(NUM_DRAWN)]


def moving_needle(rng: random.Random) -> Needle:
    """Which way a thing moves."""
    while True:
        episode = motion(rng, MARKED, rng.randint(*CLIP_FRAMES), 99, num_bystanders=(0,))
        answer = next((one.answer for one in episode.asked if one.task == "direction"), None)
        if answer is not None:
            break
    scenes = [scene for scene in episode.frames if scene is not None]
    return Needle.single("motion", filmed(scenes), f"Which way does the {name_of(scenes[0])} move?", answer)


def changing_needle(rng: random.Random) -> Needle:
    """Which colour a thing has at the end, or at the start."""
    while True:
        episode = colour_change(rng, MARKED, rng.randint(*CLIP_FRAMES), 99)
        scenes = [scene for scene in episode.frames if scene is not None]
        first, last = scenes[0].things[0].colour, scenes[-1].things[0].colour
        if len(scenes[0].things) == 1 and first != last:
            break
    at, colour = rng.choice((("start", first), ("end", last)))
    question = f"What colour is the {name_of(scenes[0])} at the {at}?"
    return Needle.single(f"colour at the {at}", filmed(scenes), question, f"It is {COLOUR_NAMES[colour]}.")


def name_of(scene: Scene) -> str:
    """A name that fits nothing in the haystack."""
    return f"shape with the {SYMBOLS[scene.things[0].symbol]}"


def still(scene: Scene) -> Footage:
    return Footage((Image.fromarray(draw(scene, DRAWN_SIDE)),))


def filmed(scenes: Sequence[Scene]) -> Footage:
    """The scenes as frames of a video, compressed with H.264."""
    frames = h264(np.stack([draw(scene, DRAWN_SIDE) for scene in scenes]), 24, preset="veryfast", fps=25)
    return Footage(tuple(Image.fromarray(frame) for frame in frames))
