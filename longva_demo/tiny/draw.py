"""Scene → picture, at any size. Masks of shapes and glyphs are cached: a frame of 84 pixels takes about 0.2 ms."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from longva_demo.tiny.scenes import GRID, NO_SHAPE, NO_SYMBOL, SHAPES, SYMBOLS, WORDS, Scene, Thing, WordSign

_SUPERSAMPLE = 4
_CAPITAL = 56 / 64  # height of a capital in the glyph strips
GLYPH_SCALE = {
    "circle": 1.1,
    "square": 1.2,
    "triangle": 0.86,
    "star": 0.84,
    "heart": 0.96,
    "diamond": 0.9,
    "cross": 0.86,
}
GLYPH_SHIFT = {"triangle": 0.22, "heart": -0.1, "star": 0.06}  # fraction of the radius, downwards


def outline_points(shape: str) -> list[tuple[float, float]]:
    """Corner points of a shape within the unit circle, y downwards."""
    if shape == "circle":
        return [(math.cos(turn), math.sin(turn)) for turn in np.linspace(0, 2 * math.pi, 72, endpoint=False)]
    if shape == "square":
        return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
    if shape == "triangle":
        return [(0, -1.0), (1.0, 0.82), (-1.0, 0.82)]
    if shape == "star":
        turns = [math.pi * step / 5 - math.pi / 2 for step in range(10)]
        return [
            (radius * math.cos(turn), radius * math.sin(turn))
            for turn, radius in zip(turns, [1.08, 0.52] * 5, strict=True)
        ]
    if shape == "heart":
        around = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        xs = 16 * np.sin(around) ** 3 / 16.5
        ys = -(13 * np.cos(around) - 5 * np.cos(2 * around) - 2 * np.cos(3 * around) - np.cos(4 * around)) / 16.5
        return list(zip(xs.tolist(), (ys - 0.1).tolist(), strict=True))
    if shape == "diamond":
        return [(0, -1.12), (0.8, 0), (0, 1.12), (-0.8, 0)]
    assert shape == "cross", shape
    arm = 0.36
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    points: list[tuple[float, float]] = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


@lru_cache(maxsize=16384)
def shape_mask(shape: int, half_pixels: int, angle: int) -> np.ndarray:
    """Coverage 0…1 (side, side) of a shape with radius `half_pixels` / 2, rotated by `angle` degrees."""
    radius = half_pixels / 2
    side = 2 * math.ceil(radius * 1.2) + 3
    scale, middle = radius * _SUPERSAMPLE, side * _SUPERSAMPLE / 2
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    points = [
        (middle + scale * (x * cosine - y * sine), middle + scale * (x * sine + y * cosine))
        for x, y in outline_points(SHAPES[shape])
    ]
    picture = Image.new("L", (side * _SUPERSAMPLE, side * _SUPERSAMPLE), 0)
    ImageDraw.Draw(picture).polygon(points, fill=255)
    picture = picture.reduce(_SUPERSAMPLE)
    return np.asarray(picture, dtype=np.float32) / 255


Strip = tuple[np.ndarray, np.ndarray]  # a font: grey levels and left edges of its characters
_other_fonts: list[Strip] = []


@lru_cache(maxsize=1)
def _own_fonts() -> list[Strip]:
    with np.load(Path(__file__).with_name("glyphs.npz")) as arrays:
        return [(arrays[f"strip{index}"], arrays[f"edges{index}"]) for index in range(len(arrays.files) // 2)]


@contextmanager
def drawn_with(fonts: list[Strip]) -> Iterator[None]:
    """Draw scenes with these fonts instead of those of the training."""
    _other_fonts[:] = fonts
    text_mask.cache_clear()
    try:
        yield
    finally:
        _other_fonts.clear()
        text_mask.cache_clear()


def _glyph(font: int, character: str) -> np.ndarray:
    strips = _other_fonts or _own_fonts()
    strip, edges = strips[font % len(strips)]
    index = ord(character) - ord("0") if character.isdigit() else 10 + ord(character) - ord("A")
    return strip[:, edges[index] : edges[index + 1]]


@lru_cache(maxsize=16384)
def text_mask(text: str, font: int, half_pixels: int) -> np.ndarray:
    """Coverage 0…1 (height, width) of a text with capitals `half_pixels` / 2 high."""
    strip = np.concatenate([_glyph(font, character) for character in text], axis=1)
    scale = half_pixels / 2 / (_CAPITAL * strip.shape[0])
    size = (max(1, round(strip.shape[1] * scale)), max(1, round(strip.shape[0] * scale)))
    picture = Image.fromarray(strip).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32) / 255


def blend(canvas: np.ndarray, mask: np.ndarray, x: float, y: float, rgb: tuple[int, int, int]) -> None:
    """Blend a colour through a mask centred at (x, y) pixels, clipped to the canvas (3, size, size)."""
    height, width = mask.shape
    left, top = round(x - width / 2), round(y - height / 2)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(canvas.shape[2], left + width), min(canvas.shape[1], top + height)
    if x0 >= x1 or y0 >= y1:
        return
    part = canvas[:, y0:y1, x0:x1]
    colour = np.array(rgb, dtype=np.float32)[:, None, None]
    part += (colour - part) * mask[y0 - top : y1 - top, x0 - left : x1 - left]


def _ink(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever contrasts with the colour."""
    light = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
    return (12, 12, 12) if light > 118 else (250, 250, 250)


def draw_thing(canvas: np.ndarray, thing: Thing) -> None:
    size = canvas.shape[1]
    x, y, radius = thing.x * size, thing.y * size, thing.radius * size
    half = max(2, round(radius * 2))
    if thing.shape == NO_SHAPE:
        mask = text_mask(SYMBOLS[thing.symbol], thing.font, max(2, round(2.9 * radius)))
        blend(canvas, mask, x, y, thing.rgb)
        return
    if thing.outline:
        edge = max(2, round(size * 0.028))
        ink = (8, 8, 8) if thing.outline == 1 else (252, 252, 252)
        blend(canvas, shape_mask(thing.shape, half + edge, thing.angle), x, y, ink)
    blend(canvas, shape_mask(thing.shape, half, thing.angle), x, y, thing.rgb)
    if thing.symbol != NO_SYMBOL:
        name = SHAPES[thing.shape]
        mask = text_mask(SYMBOLS[thing.symbol], thing.font, max(2, round(2 * radius * GLYPH_SCALE[name])))
        blend(canvas, mask, x, y + GLYPH_SHIFT.get(name, 0.0) * radius, _ink(thing.rgb))


def draw_sign(canvas: np.ndarray, sign: WordSign) -> None:
    size = canvas.shape[1]
    mask = text_mask(WORDS[sign.word], sign.font, round(2 * sign.height * size))
    if mask.shape[1] > 0.96 * size:
        mask = text_mask(WORDS[sign.word], sign.font, int(2 * sign.height * size * 0.96 * size / mask.shape[1]))
    slack = max(0.0, size - mask.shape[1]) / 2
    x = size / 2 + min(slack, max(-slack, sign.dx * size))
    blend(canvas, mask, x, ((sign.row + 0.5) / GRID + sign.dy) * size, sign.rgb)


def draw(scene: Scene, size: int = 84) -> np.ndarray:
    """The scene as uint8 RGB (size, size, 3)."""
    canvas = np.empty((3, size, size), dtype=np.float32)  # planar: faster to blend than interleaved
    canvas[:] = np.array(scene.rgb, dtype=np.float32)[:, None, None]
    if scene.gradient != (0, 0):
        ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        canvas += scene.gradient[0] * ramp[None, :] + scene.gradient[1] * ramp[:, None]
    for thing in scene.things:
        draw_thing(canvas, thing)
    if scene.sign is not None:
        draw_sign(canvas, scene.sign)
    return np.ascontiguousarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))
