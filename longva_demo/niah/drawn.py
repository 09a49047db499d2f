"""Needles that are drawn for the built-in model, in its own words.

Some show numbers, of which the drawn haystack has none. The others show stars and hearts, which are left out of it.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from longva_demo.niah.needle import Asked, Footage, Needle
from longva_demo.tiny.clips import DIRECTIONS, colour_change, motion, needle_scene
from longva_demo.tiny.degrade import h264
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import (
    COLOUR_NAMES,
    DIGITS,
    SHAPES,
    Mix,
    Scene,
    place,
    random_background,
    random_thing,
)

NUM_DRAWN = 20
DRAWN_SEED = 8_000_000  # not used in training or evaluation
DRAWN_SIDE = 336
COUNTS = (2, 0, 3, 1)
CLIP_FRAMES = (5, 10)  # of one second each, as TimeScope's needles
STAR, HEART = SHAPES.index("star"), SHAPES.index("heart")
RESERVED = (STAR, HEART)  # shapes that a haystack lacks, if needles are told apart by them


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
    """No to three pictures of a star, and how many there are."""
    rng, needles = random.Random(DRAWN_SEED + 2), []
    for index in range(NUM_DRAWN):
        count = COUNTS[index % len(COUNTS)]
        parts = tuple(still(scene_of(rng, STAR)) for _ in range(count))
        asked = Asked("How many stars are there?", f"I count {count}.", tuple(range(count)))
        needles.append(Needle(f"{count} stars, {index}", parts, (asked,)))
    return needles


def drawn_orders() -> list[Needle]:
    """A star and a heart, and which comes first. It is named first in half of the questions."""
    rng, needles = random.Random(DRAWN_SEED + 3), []
    for index in range(NUM_DRAWN):
        shown = (STAR, HEART) if index % 4 < 2 else (HEART, STAR)
        named = shown if index % 2 == 0 else shown[::-1]
        question = f"Which comes first, the {SHAPES[named[0]]} or the {SHAPES[named[1]]}?"
        asked = Asked(question, f"The {SHAPES[shown[0]]}.", (0, 1))
        parts = tuple(still(scene_of(rng, shape)) for shape in shown)
        needles.append(Needle(f"{SHAPES[shown[0]]} first, {index}", parts, (asked,)))
    return needles


def scene_of(rng: random.Random, shape: int) -> Scene:
    """A scene with one thing of this shape, with or without a symbol."""
    background = random_background(rng)
    thing = random_thing(rng, background.background, Mix(bare_share=0.0))
    return background.with_things(place(rng, replace(thing, shape=shape), rng.randrange(9), 0.6))


def drawn_clips() -> list[Needle]:
    """Clips of a star that moves or changes its colour. No single frame tells the answer."""
    rng = random.Random(DRAWN_SEED + 1)
    return [moving_star(rng) if index % 2 == 0 else changing_star(rng) for index in range(NUM_DRAWN)]


def moving_star(rng: random.Random) -> Needle:
    """Which way it moves."""
    episode = motion(rng, Mix(bare_share=0.0), rng.randint(*CLIP_FRAMES), 99, num_bystanders=(0,))
    frames = [scene for scene in episode.frames if scene is not None]
    first, last = frames[0].things[0], frames[-1].things[0]
    moved = (last.x - first.x, last.y - first.y)
    direction = max(DIRECTIONS, key=lambda name: DIRECTIONS[name][0] * moved[0] + DIRECTIONS[name][1] * moved[1])
    return Needle.single("motion", filmed(frames), "Which way does the star move?", f"It moves {direction}.")


def changing_star(rng: random.Random) -> Needle:
    """Which colour it has at the end, or at the start."""
    while True:
        episode = colour_change(rng, Mix(bare_share=0.0), rng.randint(*CLIP_FRAMES), 99)
        frames = [scene for scene in episode.frames if scene is not None]
        first, last = frames[0].things[0].colour, frames[-1].things[0].colour
        if len(frames[0].things) == 1 and first != last:
            break
    at, colour = rng.choice((("start", first), ("end", last)))
    question, answer = f"What colour is the star at the {at}?", f"It is {COLOUR_NAMES[colour]}."
    return Needle.single(f"colour at the {at}", filmed(frames), question, answer)


def still(scene: Scene) -> Footage:
    return Footage((Image.fromarray(draw(scene, DRAWN_SIDE)),))


def filmed(scenes: Sequence[Scene]) -> Footage:
    """The scenes as frames of a video, compressed with H.264. The first thing of each becomes a star."""
    stars = [scene.with_things(replace(scene.things[0], shape=STAR), *scene.things[1:]) for scene in scenes]
    frames = h264(np.stack([draw(scene, DRAWN_SIDE) for scene in stars]), 24, preset="veryfast", fps=25)
    return Footage(tuple(Image.fromarray(frame) for frame in frames))
