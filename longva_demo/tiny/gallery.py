"""The example gallery as scenes: what each clip shows, its questions, and their true answers read off the scenes."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from PIL import Image

from longva_demo.tiny.draw import draw
from longva_demo.tiny.phrases import article
from longva_demo.tiny.questions import DECLINE, Asked
from longva_demo.tiny.scenes import (
    BACKGROUND_NAMES,
    BACKGROUNDS,
    CELL_NAMES,
    COLOUR_NAMES,
    COLOURS,
    GRID,
    NO_SYMBOL,
    SHAPES,
    SYMBOLS,
    WORDS,
    Mix,
    Scene,
    Thing,
    WordSign,
    random_scene,
)

SIZE = 480
Frames = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Example:
    """One entry of the gallery. `fps` 0 makes a picture. `cover` is the thumbnail's place in the clip, 0…1."""

    name: str
    title: str
    shows: str
    frames: Frames
    asked: list[Asked]
    fps: int = 25
    num_frames: int = 16
    cover: float = 0.5
    crf: int = 23

    @property
    def file(self) -> str:
        return f"{self.name}.{'mp4' if self.fps else 'png'}"


@dataclass
class Truth:
    """Collects questions with answers read off the scene's things."""

    asked: list[Asked] = field(default_factory=list)

    def add(self, question: str, answer: str) -> None:
        self.asked.append(Asked(question, answer, "example"))

    def colour(self, question: str, thing: Thing) -> None:
        self.add(question, f"It is {COLOUR_NAMES[thing.colour]}.")

    def shape(self, question: str, thing: Thing) -> None:
        self.add(question, f"It is {article(SHAPES[thing.shape])}.")

    def number(self, question: str, thing: Thing) -> None:
        self.add(question, f"The number is {SYMBOLS[thing.symbol]}.")

    def place(self, question: str, thing: Thing) -> None:
        self.add(question, f"It is at the {CELL_NAMES[thing.cell]}.")

    def background(self, question: str, scene: Scene) -> None:
        self.add(question, f"The background is {BACKGROUND_NAMES[scene.background]}.")


def make(shape: str, colour: str, cell: str, symbol: str = "", radius: float = 0.15, angle: int = 0) -> Thing:
    """A thing in the middle of a named cell."""
    row, column = divmod(CELL_NAMES.index(cell), GRID)
    return Thing(
        SHAPES.index(shape),
        COLOUR_NAMES.index(colour),
        SYMBOLS.index(symbol) if symbol else NO_SYMBOL,
        x=(column + 0.5) / GRID,
        y=(row + 0.5) / GRID,
        radius=radius,
        angle=angle,
        font=2,
        rgb=COLOURS[colour],
    )


def backdrop(name: str, *things: Thing, gradient: tuple[int, int] = (6, 14)) -> Scene:
    return Scene(BACKGROUND_NAMES.index(name), things, rgb=BACKGROUNDS[name], gradient=gradient)


def smooth(scene: Scene) -> np.ndarray:
    """Drawn at twice the size and brought down, so that slow movements do not jump from pixel to pixel."""
    return np.asarray(Image.fromarray(draw(scene, 2 * SIZE)).reduce(2))


def floating(scene: Scene, seconds: float, fps: int, sway: float = 0.012) -> Frames:
    """The scene with its things gently swaying about their places."""

    def frames() -> Iterator[np.ndarray]:
        for index in range(round(seconds * fps)):
            time = index / fps
            things = [
                replace(
                    thing,
                    x=thing.x + sway * math.sin(1.1 * time + 2 * at),
                    y=thing.y + sway * math.cos(0.9 * time + 3 * at),
                )
                for at, thing in enumerate(scene.things)
            ]
            yield smooth(scene.with_things(*things))

    return frames


def shapes_example() -> Example:
    star, circle = make("star", "red", "top left", "5", 0.17), make("circle", "cyan", "right", "", 0.15)
    square = make("square", "yellow", "bottom", "8", 0.16)
    scene, truth = backdrop("navy", star, circle, square), Truth()
    truth.colour("What colour is the star?", star)
    truth.number("What number is on the yellow square?", square)
    truth.place("Where is the circle?", circle)
    truth.background("What colour is the background?", scene)
    truth.add("Is there a green heart?", "No.")
    truth.number("What number is on the star?", star)
    truth.colour("What colour is the circle?", circle)
    title, shows = "Three shapes", "Single-frame questions: colours, numbers, places; the second answer comes at once."
    return Example("shapes", title, shows, floating(scene, 6, 25), truth.asked, num_frames=16)


def motion_example() -> Example:
    ball = replace(make("circle", "orange", "left", "7", 0.16), x=0.17, y=0.5)
    cross = make("cross", "purple", "bottom right", "", 0.12)
    scene, seconds, fps = backdrop("white", gradient=(-8, -14)), 5, 30
    path = [0.17 + 0.66 * (0.5 - 0.5 * math.cos(math.pi * at / (seconds * fps - 1))) for at in range(seconds * fps)]

    def frames() -> Iterator[np.ndarray]:
        for x in path:
            yield smooth(scene.with_things(replace(ball, x=x), cross))

    truth = Truth()
    truth.number("What number is on the circle?", ball)
    truth.colour("What colour is the circle?", ball)
    truth.colour("What colour is the cross?", cross)
    truth.background("What colour is the background?", scene)
    truth.place("Where is the cross?", cross)
    title, shows = (
        "A rolling circle",
        "A thing in motion keeps its number and colour.",
    )
    return Example("motion", title, shows, frames, truth.asked, fps=fps, num_frames=16)


def change_example() -> Example:
    before = make("heart", "red", "centre", "", 0.3)
    after = replace(before, colour=COLOUR_NAMES.index("blue"), rgb=COLOURS["blue"])
    scene, seconds, fps = backdrop("beige"), 6, 25

    def frames() -> Iterator[np.ndarray]:
        for index in range(seconds * fps):
            share = min(1.0, max(0.0, (index / fps - 3.0) / 0.4))
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(before.rgb, after.rgb, strict=True))
            beat = 1 + 0.05 * max(0.0, math.sin(2 * math.pi * 1.1 * index / fps)) ** 3
            yield smooth(scene.with_things(replace(before, rgb=(red, green, blue), radius=before.radius * beat)))

    truth = Truth()
    truth.place("Where is the heart?", before)
    truth.background("What colour is the background?", scene)
    truth.add("Is there a star?", "No.")
    truth.add("Is there a heart?", "Yes.")
    truth.add("Is there a green star?", "No.")
    truth.shape("What shape is the thing at the centre?", before)
    title, shows = (
        "A change of heart",
        "It turns from red to blue halfway: narrow the range.",
    )
    return Example("change", title, shows, frames, truth.asked, num_frames=16, cover=0.3)


def counting_example() -> Example:
    scene = backdrop(
        "black",
        make("star", "yellow", "top left", "", 0.13),
        make("star", "white", "top right", "", 0.12),
        make("star", "pink", "bottom", "", 0.13),
        make("diamond", "green", "left", "", 0.12),
        make("triangle", "blue", "bottom right", "", 0.13),
        gradient=(10, 18),
    )
    truth = Truth()
    truth.place("Where is the triangle?", scene.things[4])
    truth.colour("What colour is the diamond?", scene.things[3])
    truth.colour("What colour is the triangle?", scene.things[4])
    truth.place("Where is the diamond?", scene.things[3])
    truth.background("What colour is the background?", scene)
    truth.add("Is there a white star?", "Yes.")
    truth.add("Is there a red circle?", "No.")
    title, shows = "Night sky", "Finding one of several things by its shape."
    return Example("counting", title, shows, floating(scene, 6, 25), truth.asked, num_frames=8)


def order_example() -> Example:
    parts = [
        make("triangle", "green", "centre", "", 0.27),
        make("square", "purple", "centre", "", 0.26),
        make("star", "orange", "centre", "", 0.28),
    ]
    scene, fps, each = backdrop("gray", gradient=(8, 16)), 25, 2.5

    def frames() -> Iterator[np.ndarray]:
        for part in parts:
            for index in range(round(each * fps)):
                grown = part.radius * min(1.0, 0.7 + index / fps)
                yield smooth(scene.with_things(replace(part, radius=grown)))

    truth = Truth()
    truth.colour("What colour is the square?", parts[1])
    truth.background("What colour is the background?", scene)
    truth.colour("What colour is the triangle?", parts[0])
    truth.colour("What colour is the star?", parts[2])
    title, shows = "One after the other", "Three shapes, one at a time: each is found in the frames that show it."
    return Example("order", title, shows, frames, truth.asked, num_frames=12, cover=0.2)


def shots(seed: int, seconds: float, shot_seconds: tuple[float, float]) -> list[tuple[float, Scene]]:
    """(length in seconds, scene without symbols or words) until `seconds` are full."""
    rng, mix = random.Random(seed), Mix(symbol_share=0, bare_share=0, word_share=0, large_share=0.5, spread=0.4)
    found: list[tuple[float, Scene]] = []
    left = seconds
    while left > 0:
        length = min(left, rng.uniform(*shot_seconds))
        found.append((length, random_scene(rng, mix, count=rng.choice((1, 1, 2, 2, 3)))))
        left -= length
    return found


def with_needle(
    haystack: list[tuple[float, Scene]], needle: Scene, at: float, seconds: float
) -> list[tuple[float, Scene]]:
    """The shots with `needle` laid over from `at` on, the total length unchanged."""
    found, now = [], 0.0
    for length, scene in haystack:
        before = min(length, max(0.0, at - now))
        after = min(length, max(0.0, now + length - at - seconds))
        found += [(before, scene)] if before else []
        if now <= at < now + length:
            found.append((seconds, needle))
        found += [(after, scene)] if after else []
        now += length
    return found


def needle_minute() -> Example:
    thing = make("star", "yellow", "centre", "7", 0.3)
    needle, fps, sway = backdrop("green", thing), 25, 0.012
    plan = with_needle(shots(11, 60, (4, 8)), needle, at=37.4, seconds=1.0)

    def frames() -> Iterator[np.ndarray]:
        for length, scene in plan:
            yield from floating(scene, length, fps, sway)()

    truth = Truth()
    for question in ("What number appears in the video?", "Which number appears?", "What is the number?"):
        truth.number(question, thing)
    truth.number(f"What number is on the {COLOUR_NAMES[thing.colour]} star?", thing)
    truth.add("Which shape has the number 7?", f"The {COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}.")
    truth.number("What number is on the star?", thing)
    truth.number("What number is shown in the video?", thing)
    title = "One second in a minute"
    shows = "A needle: one second of sixty has a number. 64 frames catch it; with 16 it may be missed."
    return Example("needle", title, shows, frames, truth.asked, num_frames=64, cover=0.63, crf=30)


def needle_long() -> Example:
    thing = make("circle", "blue", "centre", "8", 0.3)
    needle, fps, seconds = backdrop("white", thing), 4, 480
    plan = with_needle(shots(23, seconds, (6, 14)), needle, at=311.0, seconds=2.5)

    @lru_cache(maxsize=2)
    def still(index: int) -> np.ndarray:
        return smooth(plan[index][1])

    def frames() -> Iterator[np.ndarray]:
        ends = np.cumsum([length for length, _ in plan])
        for tick in range(seconds * fps):
            yield still(min(len(plan) - 1, int(np.searchsorted(ends, tick / fps, side="right"))))

    truth = Truth()
    for question in ("What number appears in the video?", "Which number appears?", "What is the number?"):
        truth.number(question, thing)
    truth.number(f"What number is on the {COLOUR_NAMES[thing.colour]} circle?", thing)
    truth.number("What number is on the circle?", thing)
    truth.number("What number is shown in the video?", thing)
    truth.add("Which shape has the number 8?", f"The {COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}.")
    title = "Eight minutes, one number"
    shows = "Long context: 256 frames of eight minutes in one prompt; the number is there for two seconds and a half."
    return Example("long", title, shows, frames, truth.asked, fps=fps, num_frames=256, cover=311.5 / seconds, crf=30)


def outside_example() -> Example:
    def frames() -> Iterator[np.ndarray]:
        ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
        x, y = ramp[None, :], ramp[:, None]
        for index in range(125):
            time = 2 * math.pi * index / 125
            planes = []
            for shift in (0.0, 2.1, 4.2):
                wave = np.sin(9 * x + time + shift) + np.sin(11 * y - time) + np.sin(8 * (x + y) + shift + time)
                planes.append(128 + 42 * (wave + np.sin(14 * np.hypot(x - 0.5, y - 0.5) - time + shift)))
            yield np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)

    truth = Truth()
    for question in ("What do you see?", "What is this?", "What colour is the star?"):
        truth.add(question, DECLINE)
    title, shows = "Not its world", "Limits: the small built-in model says what it knows instead of guessing."
    return Example("outside", title, shows, frames, truth.asked, num_frames=16, crf=33)


def picture_example() -> Example:
    sign = WordSign(WORDS.index("HELLO"), 0, COLOUR_NAMES.index("white"), font=2, rgb=COLOURS["white"], height=0.17)
    heart, square = make("heart", "pink", "left", "3", 0.17), make("square", "orange", "bottom right", "", 0.14)
    scene = replace(backdrop("green", heart, square), sign=sign)
    truth = Truth()
    truth.number("What number is on the heart?", heart)
    truth.place("Where is the square?", square)
    truth.colour("What colour is the heart?", heart)
    truth.colour("What colour is the square?", square)
    truth.background("What colour is the background?", scene)

    def frames() -> Iterator[np.ndarray]:
        yield smooth(scene)

    title, shows = "A picture", "Pictures can be asked about too: numbers, colours, places."
    return Example("picture", title, shows, frames, truth.asked, fps=0, num_frames=1)


EXAMPLES = (
    *(shapes_example, motion_example, change_example, counting_example, order_example),
    *(needle_minute, needle_long, outside_example, picture_example),
)
