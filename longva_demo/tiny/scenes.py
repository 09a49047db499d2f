"""The synthetic scenes that the bundled model is trained on, and their ground truth cell by cell.

A scene has a background, a few coloured things (a shape, a digit or letter, or a shape that carries one) and at most
one word. Positions and sizes are fractions of the picture's side, so that a scene can be drawn at any size. A picture
has 3 × 3 cells in row-major order; the model turns each cell of a frame into one token.
"""

import random
from dataclasses import dataclass, field, replace

import numpy as np

COLOURS = {
    "red": (214, 38, 40),
    "orange": (246, 140, 28),
    "yellow": (246, 220, 48),
    "green": (44, 166, 70),
    "cyan": (60, 206, 216),
    "blue": (44, 84, 222),
    "purple": (132, 58, 186),
    "pink": (246, 130, 182),
    "white": (246, 246, 246),
    "black": (20, 20, 20),
}
BACKGROUNDS = {
    "black": (14, 14, 16),
    "white": (243, 243, 240),
    "gray": (128, 128, 128),
    "brown": (108, 70, 44),
    "navy": (24, 36, 96),
    "beige": (226, 208, 168),
    "green": (28, 82, 52),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross")
DIGITS = "0123456789"
LETTERS = "ACEFHKLMNPRTXY"  # without letters that resemble another letter or a digit
SYMBOLS = DIGITS + LETTERS
WORDS = (
    *("GO", "NO", "YES", "SUN", "CAR", "END", "STOP", "OPEN"),
    *("EXIT", "FISH", "LOVE", "MILK", "HELLO", "START", "APPLE", "WATER"),
)
GRID = 3
CELL_NAMES = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)
FACTORS = {  # the factors of a cell's ground truth and their number of values; the last value means "none"
    "colour": len(COLOURS) + 1,
    "shape": len(SHAPES) + 1,
    "symbol": len(SYMBOLS) + 1,
    "word": len(WORDS) + 1,
    "background": len(BACKGROUNDS) + 1,  # the last value: out of scope
}
COLOUR_NAMES = tuple(COLOURS)
BACKGROUND_NAMES = tuple(BACKGROUNDS)
NO_SHAPE, NO_SYMBOL, NO_WORD, NO_COLOUR = len(SHAPES), len(SYMBOLS), len(WORDS), len(COLOURS)
OUT_OF_SCOPE = len(BACKGROUNDS)


def _contrast_table() -> np.ndarray:
    """(backgrounds, colours) bool: whether a thing of this colour is visible on this background."""
    back = np.array(list(BACKGROUNDS.values()), dtype=float)[:, None]
    fore = np.array(list(COLOURS.values()), dtype=float)[None]
    return np.sqrt(((back - fore) ** 2 * np.array([0.9, 1.4, 0.7])).sum(-1)) > 95  # (backgrounds, colours)


VISIBLE = _contrast_table()
VISIBLE_COLOURS = tuple(tuple(np.flatnonzero(row).tolist()) for row in VISIBLE)


@dataclass(frozen=True)
class Thing:
    """One object. `x`, `y` (centre) and `radius` are fractions of the side. `shape` NO_SHAPE: a bare symbol."""

    shape: int
    colour: int
    symbol: int = NO_SYMBOL
    x: float = 0.5
    y: float = 0.5
    radius: float = 0.14
    angle: int = 0  # degrees
    font: int = 0
    rgb: tuple[int, int, int] = (0, 0, 0)
    outline: int = 0  # 0 none, 1 black, 2 white

    @property
    def cell(self) -> int:
        """Row-major cell of the centre: (x, y) = (0.9, 0.1) is in cell 2, top right."""
        column = min(GRID - 1, max(0, int(self.x * GRID)))
        row = min(GRID - 1, max(0, int(self.y * GRID)))
        return row * GRID + column


@dataclass(frozen=True)
class WordSign:
    """A word written across one row of cells. Its ground truth belongs to the middle cell of the row."""

    word: int
    row: int
    colour: int
    font: int = 0
    rgb: tuple[int, int, int] = (0, 0, 0)
    height: float = 0.17  # of the capitals, fraction of the side
    dx: float = 0.0
    dy: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A background, things and at most one word. `gradient`: change in brightness (grey levels) across the picture."""

    background: int
    things: tuple[Thing, ...] = ()
    sign: WordSign | None = None
    rgb: tuple[int, int, int] = (0, 0, 0)
    gradient: tuple[int, int] = (0, 0)

    def with_things(self, *things: Thing) -> "Scene":
        return replace(self, things=things)

    def shrunk(self, factor: float) -> "Scene":
        """The same scene with smaller things and a smaller word, at the same positions."""
        things = tuple(replace(thing, radius=factor * thing.radius) for thing in self.things)
        sign = replace(self.sign, height=factor * self.sign.height) if self.sign else None
        return replace(self, things=things, sign=sign)


@dataclass
class Cells:
    """Ground truth of frames: `values` (frames, 9, factors) int64; `offsets` (frames, 9, 2) of the centres, in -1…1."""

    values: np.ndarray = field(default_factory=lambda: np.zeros((0, GRID * GRID, len(FACTORS)), dtype=np.int64))
    offsets: np.ndarray = field(default_factory=lambda: np.zeros((0, GRID * GRID, 2), dtype=np.float32))


_EMPTY = np.array([count - 1 for count in FACTORS.values()], dtype=np.int64)


def cells_of(scenes: "list[Scene | None]") -> Cells:
    """Ground truth of each scene. None stands for an out-of-scope picture."""
    values = np.tile(_EMPTY, (len(scenes), GRID * GRID, 1))
    offsets = np.zeros((len(scenes), GRID * GRID, 2), dtype=np.float32)
    for index, scene in enumerate(scenes):
        if scene is None:
            continue
        values[index, :, 4] = scene.background
        for thing in scene.things:
            cell = thing.cell
            values[index, cell, :3] = (thing.colour, thing.shape, thing.symbol)
            row, column = divmod(cell, GRID)
            offsets[index, cell] = (2 * (thing.x * GRID - column) - 1, 2 * (thing.y * GRID - row) - 1)
        if scene.sign is not None:
            cell = scene.sign.row * GRID + 1
            values[index, cell, 0] = scene.sign.colour
            values[index, cell, 3] = scene.sign.word
    return Cells(values, offsets)


def _jitter(rng: random.Random, rgb: tuple[int, int, int], spread: int) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, value + rng.randint(-spread, spread))) for value in rgb)
    return red, green, blue


def paint(rng: random.Random, colour: int, spread: int = 14) -> tuple[int, int, int]:
    """A shade of the named colour."""
    return _jitter(rng, COLOURS[COLOUR_NAMES[colour]], spread)


@dataclass(frozen=True)
class Mix:
    """The distribution of random scenes. `spread`: maximum distance from the centre of the cell (1: anywhere)."""

    count_weights: tuple[float, ...] = (0.06, 0.28, 0.24, 0.20, 0.11, 0.07, 0.04)
    symbol_share: float = 0.5
    letter_share: float = 0.45
    bare_share: float = 0.12
    word_share: float = 0.2
    spread: float = 0.8
    large_share: float = 0.3


def random_background(rng: random.Random) -> Scene:
    background = rng.randrange(len(BACKGROUNDS))
    rgb = _jitter(rng, BACKGROUNDS[BACKGROUND_NAMES[background]], 10)
    gradient = (rng.randint(-16, 16), rng.randint(-16, 16)) if rng.random() < 0.4 else (0, 0)
    return Scene(background, rgb=rgb, gradient=gradient)


def random_sign(rng: random.Random, background: int) -> WordSign:
    colour = rng.choice(VISIBLE_COLOURS[background])
    word = rng.randrange(len(WORDS))
    height = rng.uniform(0.15, 0.22) * (1.15 if len(WORDS[word]) < 4 else 1.0)
    dx, dy = rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)
    row, font = rng.randrange(GRID), rng.randrange(1 << 16)
    return WordSign(word, row, colour, font, paint(rng, colour), height, dx, dy)


def random_symbol(rng: random.Random, letter_share: float) -> int:
    if rng.random() < letter_share:
        return len(DIGITS) + rng.randrange(len(LETTERS))
    return rng.randrange(len(DIGITS))


def random_thing(rng: random.Random, background: int, mix: Mix) -> Thing:
    """A thing without a position: kind, colour, symbol, size, angle and font."""
    colour = rng.choice(VISIBLE_COLOURS[background])
    bare = rng.random() < mix.bare_share
    symbol = random_symbol(rng, mix.letter_share) if bare or rng.random() < mix.symbol_share else NO_SYMBOL
    shape = NO_SHAPE if bare else rng.randrange(len(SHAPES))
    low, high = (0.145, 0.185) if symbol != NO_SYMBOL else (0.105, 0.17)
    outline = rng.randint(1, 2) if rng.random() < 0.2 else 0
    return Thing(
        shape=shape,
        colour=colour,
        symbol=symbol,
        radius=rng.uniform(low, high),
        angle=rng.randint(-2, 2) * 5,
        font=rng.randrange(1 << 16),
        rgb=paint(rng, colour),
        outline=outline,
    )


def place(rng: random.Random, thing: Thing, cell: int, spread: float) -> Thing:
    """Put a thing into a cell, at most `spread` half-cells from its centre, and fully inside the picture."""
    row, column = divmod(cell, GRID)
    x, y = (
        _inside((middle + 0.5 + rng.uniform(-0.5, 0.5) * spread) / GRID, (middle + 0.5) / GRID, thing.radius)
        for middle in (column, row)
    )
    return replace(thing, x=x, y=y)


def _inside(value: float, middle: float, radius: float) -> float:
    """Move `value` so that the thing is inside the picture and its centre inside the cell around `middle`."""
    value = min(1 - 0.92 * radius, max(0.92 * radius, value))
    half = 0.499 / GRID
    return min(middle + half, max(middle - half, value))


def random_scene(rng: random.Random, mix: Mix = Mix(), count: int | None = None) -> Scene:
    """A random scene. Things are in different cells and overlap at most slightly."""
    scene = random_background(rng)
    if count is None:
        count = rng.choices(range(len(mix.count_weights)), mix.count_weights)[0]
    sign = random_sign(rng, scene.background) if rng.random() < mix.word_share else None
    cells = [cell for cell in range(GRID * GRID) if sign is None or cell // GRID != sign.row]
    chosen = rng.sample(cells, min(count, len(cells)))
    things: list[Thing] = []
    for cell in chosen:
        thing = random_thing(rng, scene.background, mix)
        if count == 1 and sign is None and rng.random() < mix.large_share:
            thing = replace(thing, radius=rng.uniform(0.17, 0.34))
        spread = mix.spread
        for _ in range(4):
            placed = place(rng, thing, cell, spread)
            if all(_apart(placed, other) for other in things):
                break
            spread *= 0.5
        things.append(placed)
    return replace(scene, things=tuple(things), sign=sign)


def _apart(one: Thing, other: Thing) -> bool:
    distance = ((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5
    return distance > 0.9 * (one.radius + other.radius)
