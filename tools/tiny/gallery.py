"""The example gallery as scenes: what each clip shows, and its questions with their answers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from longva_demo.tiny.draw import draw
from longva_demo.tiny.phrases import article
from longva_demo.tiny.questions import REFUSAL, QAPair, describe
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
    Scene,
    Thing,
    WordSign,
)
from tools.tiny.gallery_frames import (
    Frames,
    floating,
    moving_colours,
    panned_landscape,
    shots,
    smooth,
    stills,
    with_needle,
)

# At these widths a picture is cut into 7 × 7 grids of 336 pixels, the most that LongVA-7B takes, and into 6 × 3.
LARGE, WIDE = 2352, 2016


@dataclass(frozen=True)
class Example:
    """One entry of the gallery. With `fps` 0 it is a picture.

    group: a key of `GROUPS` in `page/components/gallery`.
    phases: the scenes that it goes through; empty if it is out of scope.
    cover: position of the thumbnail in the clip, 0…1.
    """

    name: str
    group: str
    title: str
    shows: str
    frames: Frames
    asked: list[QAPair]
    phases: tuple[Scene, ...] = ()
    fps: int = 25
    num_frames: int = 16
    cover: float = 0.5
    crf: int = 23

    @property
    def file(self) -> str:
        return f"{self.name}.{'mp4' if self.fps else 'png'}"


@dataclass
class Truth:
    """Collects questions, with answers that come from the things of the scene."""

    asked: list[QAPair] = field(default_factory=list)

    def add(self, question: str, answer: str) -> None:
        self.asked.append(QAPair(question, answer, "example"))

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
    """A thing at the centre of a named cell."""
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


def shapes_example() -> Example:
    star, circle = make("star", "red", "top left", "5", 0.17), make("circle", "cyan", "right", "", 0.15)
    square = make("square", "yellow", "bottom", "8", 0.16)
    scene, truth = backdrop("navy", star, circle, square), Truth()
    truth.colour("What colour is the star?", star)
    truth.number("What number is on the yellow square?", square)
    truth.add("What do you see?", describe(scene))
    truth.place("Where is the circle?", circle)
    truth.add("How many shapes are there?", "I count 3.")
    truth.background("What colour is the background?", scene)
    truth.add("Is there a green heart?", "No.")
    truth.number("What number is on the star?", star)
    truth.colour("What colour is the circle?", circle)
    title, shows = "Three shapes", "The clip is read once, so the second answer comes at once."
    return Example("shapes", "first", title, shows, floating(scene, 6, 25, sway=0.03), truth.asked, (scene,))


def motion_example() -> Example:
    ball = replace(make("circle", "orange", "left", "7", 0.16), x=0.17, y=0.5)
    cross = make("cross", "purple", "bottom right", "", 0.12)
    scene, seconds, fps = backdrop("white", gradient=(-8, -14)), 5, 30
    path = [0.17 + 0.66 * (0.5 - 0.5 * math.cos(math.pi * at / (seconds * fps - 1))) for at in range(seconds * fps)]

    def frames() -> Iterator[np.ndarray]:
        for x in path:
            yield smooth(scene.with_things(replace(ball, x=x), cross))

    truth = Truth()
    truth.add("Which way does the circle move?", "It moves to the right.")
    truth.number("What number is on the circle?", ball)
    truth.colour("What colour is the circle?", ball)
    truth.colour("What colour is the cross?", cross)
    truth.background("What colour is the background?", scene)
    truth.place("Where is the cross?", cross)
    title, shows = "A rolling circle", "Sixteen frames from five seconds: a moving object keeps its number."
    phases = tuple(scene.with_things(replace(ball, x=x), cross) for x in (path[0], path[-1]))
    return Example("motion", "first", title, shows, frames, truth.asked, phases, fps=fps)


def change_example() -> Example:
    before = make("heart", "red", "centre", "", 0.3)
    after = replace(before, colour=COLOUR_NAMES.index("blue"), rgb=COLOURS["blue"])
    scene, seconds, fps = backdrop("beige"), 6, 25

    def frames() -> Iterator[np.ndarray]:
        for index in range(seconds * fps):
            share = min(1.0, max(0.0, (index / fps - 3.0) / 0.4))
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(before.rgb, after.rgb, strict=True))
            heartbeat = 1 + 0.05 * max(0.0, math.sin(2 * math.pi * 1.1 * index / fps)) ** 3
            yield smooth(scene.with_things(replace(before, rgb=(red, green, blue), radius=before.radius * heartbeat)))

    truth = Truth()
    truth.colour("What colour is the heart at the start?", before)
    truth.colour("What colour is the heart at the end?", after)
    truth.add("Does the heart change its colour?", "Yes.")
    truth.place("Where is the heart?", before)
    truth.background("What colour is the background?", scene)
    truth.add("Is there a star?", "No.")
    truth.add("Is there a heart?", "Yes.")
    truth.add("Is there a green star?", "No.")
    truth.shape("What shape is the thing at the centre?", before)
    title, shows = "A change of heart", "Red, then blue: drag on the timeline to ask about one part."
    phases = (scene.with_things(before), scene.with_things(after))
    return Example("change", "first", title, shows, frames, truth.asked, phases, cover=0.3)


def needle_minute() -> Example:
    thing = make("star", "yellow", "centre", "7", 0.3)
    needle, fps = backdrop("green", thing), 25
    plan = with_needle(shots(11, 60, (4, 8)), needle, at=37.4, seconds=1.0)

    def frames() -> Iterator[np.ndarray]:
        for length, scene in plan:
            yield from floating(scene, length, fps)()

    truth = Truth()
    for question in ("What number appears in the video?", "Which number appears?", "What is the number?"):
        truth.number(question, thing)
    truth.number(f"What number is on the {COLOUR_NAMES[thing.colour]} star?", thing)
    truth.add("Which shape has the number 7?", f"The {COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}.")
    truth.number("What number is on the star?", thing)
    truth.number("What number is shown in the video?", thing)
    title, shows = "One second in a minute", "64 frames catch the one second with a number; 16 may miss it."
    phases = tuple(scene for _, scene in plan)
    return Example(
        "needle", "long", title, shows, frames, truth.asked, phases, fps=fps, num_frames=64, cover=0.63, crf=30
    )


def needle_long() -> Example:
    thing = make("circle", "blue", "centre", "8", 0.3)
    needle, fps, seconds, at = backdrop("white", thing), 4, 600, 388.0
    plan = with_needle(shots(23, seconds, (6, 14)), needle, at=at, seconds=2.5)
    truth = Truth()
    for question in ("What number appears in the video?", "Which number appears?", "What is the number?"):
        truth.number(question, thing)
    truth.number(f"What number is on the {COLOUR_NAMES[thing.colour]} circle?", thing)
    truth.number("What number is on the circle?", thing)
    truth.number("What number is shown in the video?", thing)
    truth.add("Which shape has the number 8?", f"The {COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}.")
    title, shows = "Ten minutes, one number", "256 frames in one prompt; the number is visible for 2.5 seconds."
    cover = (at + 0.5) / seconds
    frames, phases = stills(plan, fps), tuple(scene for _, scene in plan)
    return Example(
        "long", "long", title, shows, frames, truth.asked, phases, fps=fps, num_frames=256, cover=cover, crf=30
    )


def order_example() -> Example:
    parts = [
        make("triangle", "green", "centre", "", 0.27),
        make("square", "purple", "centre", "", 0.26),
        make("star", "orange", "centre", "", 0.28),
    ]
    scene = backdrop("gray", gradient=(8, 16))
    truth = Truth()
    truth.add("Which shape comes first?", "The triangle.")
    truth.add("Which shape comes last?", "The star.")
    truth.colour("What colour is the square?", parts[1])
    truth.background("What colour is the background?", scene)
    truth.colour("What colour is the triangle?", parts[0])
    truth.colour("What colour is the star?", parts[2])
    title, shows = "One after the other", "Two minutes in three parts: each answer lists its frames."
    phases = tuple(scene.with_things(part) for part in parts)
    frames = stills([(40.0, phase) for phase in phases], 5)
    return Example("order", "long", title, shows, frames, truth.asked, phases, fps=5, num_frames=12, cover=0.2)


def picture(name: str, title: str, shows: str, drawn: Callable[[], np.ndarray], truth: Truth, scene: Scene) -> Example:
    return Example(name, "images", title, shows, lambda: iter([drawn()]), truth.asked, (scene,), fps=0, num_frames=1)


def picture_example() -> Example:
    sign = WordSign(WORDS.index("HELLO"), 0, COLOUR_NAMES.index("white"), font=2, rgb=COLOURS["white"], height=0.17)
    heart, square = make("heart", "pink", "left", "3", 0.17), make("square", "orange", "bottom right", "", 0.14)
    scene = replace(backdrop("green", heart, square), sign=sign)
    truth = Truth()
    truth.number("What number is on the heart?", heart)
    truth.add("What word is written?", 'The word is "HELLO".')
    truth.place("Where is the square?", square)
    truth.colour("What colour is the heart?", heart)
    truth.colour("What colour is the square?", square)
    truth.background("What colour is the background?", scene)
    title, shows = "A picture", "Ask about it as about a video: numbers, colours, positions."
    return picture("picture", title, shows, lambda: smooth(scene), truth, scene)


def large_picture_example() -> Example:
    star, pink = make("star", "yellow", "top left", "", 0.13), make("star", "pink", "bottom", "", 0.13)
    diamond, triangle = make("diamond", "green", "left", "", 0.12), make("triangle", "blue", "bottom right", "", 0.13)
    white = make("star", "white", "top right", "", 0.12)
    scene = backdrop("black", star, white, pink, diamond, triangle, gradient=(10, 18))
    truth = Truth()
    truth.add("How many stars are there?", "I count 3.")
    truth.place("Where is the triangle?", triangle)
    truth.colour("What colour is the diamond?", diamond)
    truth.add("Is there a white star?", "Yes.")
    truth.place("Where is the diamond?", diamond)
    truth.colour("What colour is the triangle?", triangle)
    truth.background("What colour is the background?", scene)
    title, shows = "Night sky", f"{LARGE:,} pixels a side: LongVA-7B reads 49 tiles, the built-in model one."
    return picture("sky", title, shows, lambda: draw(scene, LARGE), truth, scene)


def wide_picture_example() -> Example:
    star, heart = make("star", "yellow", "left", "", 0.15), make("heart", "red", "right", "5", 0.2)
    scene = backdrop("navy", star, heart)
    truth = Truth()
    truth.number("What number is on the heart?", heart)
    truth.place("Where is the star?", star)
    truth.colour("What colour is the star?", star)
    truth.colour("What colour is the heart?", heart)
    title, shows = "A wide picture", "Kept whole, never cropped: 3 rows of 6 tiles for LongVA-7B."
    return picture("wide", title, shows, lambda: draw(scene, WIDE)[WIDE // 4 : WIDE * 3 // 4], truth, scene)


def colours_example() -> Example:
    title, shows = "Out of scope", "No shapes at all: the model says what it knows instead of guessing."
    questions = ("What do you see?", "What is this?", "What colour is the star?", "How many things are there?")
    return Example("outside", "limits", title, shows, moving_colours(5, 25), refused(*questions), crf=33)


def landscape_example() -> Example:
    title, shows = "Clouds and ground", "Photographic texture: this model knows only drawn shapes."
    questions = ("What do you see?", "Is there a heart?", "Where is the circle?", "What is this?")
    return Example("landscape", "limits", title, shows, panned_landscape(5, 5, 12), refused(*questions), fps=12, crf=33)


def questions_example() -> Example:
    square, circle = make("square", "blue", "left", "K", 0.19), make("circle", "red", "right", "A", 0.19)
    scene = backdrop("beige", square, circle)
    frames = floating(scene, 5, 25, sway=0.03)
    title, shows = "The wrong questions", "A familiar kind of clip, but shapes say nothing about the weather."
    questions = ("What is the weather in Paris?", "Is there a dog?", "What do people say?", "What will happen next?")
    return Example("questions", "limits", title, shows, frames, refused(*questions, "Who are you?"), (scene,))


def refused(*questions: str) -> list[QAPair]:
    """Questions that the built-in model should refuse."""
    return [QAPair(question, REFUSAL, "example") for question in questions]


EXAMPLES = (
    *(shapes_example, motion_example, change_example),
    *(needle_minute, needle_long, order_example),
    *(picture_example, large_picture_example, wide_picture_example),
    *(colours_example, landscape_example, questions_example),
)
