"""Out-of-scope pictures, about which the model should refuse every question.

`TRAINED_KINDS` are used in training; `HELD_OUT_KINDS` only in the evaluation.
"""

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Maker = Callable[[random.Random, int], np.ndarray]


def _noise(rng: random.Random, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(rng.getrandbits(32)).random(shape, dtype=np.float32)


def _to_picture(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _soft(rng: random.Random, cells: int, size: int) -> np.ndarray:
    """Smooth colour noise (size, size, 3) in 0…255 with about `cells` blobs per side."""
    small = (_noise(rng, (cells, cells, 3)) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def clouds(rng: random.Random, size: int) -> np.ndarray:
    """Noise at several scales around a tint, as in photographs."""
    slope = rng.uniform(0.45, 0.85)
    total = np.zeros((size, size, 3), dtype=np.float32)
    weight = 1.0
    for cells in (3, 6, 12, 24, 48):
        layer = _soft(rng, cells, size) - 128
        grey = layer.mean(-1, keepdims=True)
        total += weight * (grey * 1.6 + (layer - grey) * rng.uniform(0, 0.6))
        weight *= slope
    tint = np.array([rng.uniform(60, 190) for _ in range(3)], dtype=np.float32)
    return _to_picture(total * rng.uniform(0.5, 1.0) + tint)


def plasma(rng: random.Random, size: int) -> np.ndarray:
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    x, y = ramp[None, :], ramp[:, None]
    planes = []
    for _ in range(3):
        waves = sum(
            np.sin(2 * math.pi * (rng.uniform(-4, 4) * x + rng.uniform(-4, 4) * y + rng.random())) for _ in range(4)
        )
        planes.append(128 + 55 * waves)
    return _to_picture(np.stack(planes, axis=-1))


def stripes(rng: random.Random, size: int) -> np.ndarray:
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    turn, bands = rng.uniform(0, math.pi), rng.uniform(5, 16)
    along = (math.cos(turn) * ramp[None, :] + math.sin(turn) * ramp[:, None]) * bands
    colours = np.array([[rng.uniform(0, 255) for _ in range(3)] for _ in range(rng.randint(2, 4))])
    return _to_picture(colours[np.floor(along).astype(int) % len(colours)])


def checker(rng: random.Random, size: int) -> np.ndarray:
    across, down = rng.randint(6, 14), rng.randint(6, 14)
    ramp = np.arange(size) / size
    odd = (np.floor(ramp[None, :] * across) + np.floor(ramp[:, None] * down)).astype(int) % 2
    return _to_picture(np.array([[rng.uniform(0, 255) for _ in range(3)] for _ in range(2)])[odd])


def scribble(rng: random.Random, size: int) -> np.ndarray:
    picture = Image.fromarray(clouds(rng, size) if rng.random() < 0.3 else _flat(rng, size))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randint(12, 40)):
        points = [(rng.uniform(0, size), rng.uniform(0, size)) for _ in range(rng.randint(2, 5))]
        pen.line(points, fill=_any_colour(rng), width=max(1, round(size * rng.uniform(0.01, 0.04))))
    return np.asarray(picture)


def landscape(rng: random.Random, size: int) -> np.ndarray:
    """Sky, ground and a few soft textured bodies: of all kinds the closest to a photograph."""
    sky, ground = clouds(rng, size).astype(np.float32), clouds(rng, size).astype(np.float32)
    edge = np.cumsum(_noise(rng, (size,)) - 0.5) * rng.uniform(0.2, 1.5) * 84 / size + size * rng.uniform(0.3, 0.7)
    picture = np.where((np.arange(size)[:, None] > edge[None, :])[..., None], ground, sky)
    ramp = np.arange(size, dtype=np.float32) / size
    for _ in range(rng.randint(1, 5)):
        x, y, wide, high = rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.4)
        far = ((ramp[None, :] - x) / wide) ** 2 + ((ramp[:, None] - y) / high) ** 2
        cover = np.clip((1.2 - far) * rng.uniform(1, 8), 0, 1)[..., None]
        body = np.array(_any_colour(rng), dtype=np.float32) + 0.6 * (_soft(rng, rng.randint(4, 20), size) - 128)
        picture = picture * (1 - cover) + body * cover
    return _to_picture(picture)


def speckle(rng: random.Random, size: int) -> np.ndarray:
    grain = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(25, 80), (size, size, 3))
    return _to_picture(_soft(rng, rng.randint(2, 5), size) + grain)


def _any_colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _flat(rng: random.Random, size: int) -> np.ndarray:
    return np.full((size, size, 3), _any_colour(rng), dtype=np.uint8)


def crowd(rng: random.Random, size: int) -> np.ndarray:
    """Many more blobs, of many more sizes, than any scene contains."""
    picture = Image.fromarray(_flat(rng, size))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randint(30, 90)):
        x, y, wide, high = (
            rng.uniform(0, size),
            rng.uniform(0, size),
            rng.uniform(1, size / 4),
            rng.uniform(1, size / 4),
        )
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + wide, y + high), fill=_any_colour(rng))
    return np.asarray(picture)


def voronoi(rng: random.Random, size: int) -> np.ndarray:
    points = np.array([[rng.random(), rng.random()] for _ in range(rng.randint(14, 50))])
    ramp = (np.arange(size) + 0.5) / size
    far = (ramp[None, :, None] - points[:, 0]) ** 2 + (ramp[:, None, None] - points[:, 1]) ** 2
    colours = np.array([_any_colour(rng) for _ in points], dtype=np.uint8)
    return colours[far.argmin(-1)]


def mosaic(rng: random.Random, size: int) -> np.ndarray:
    tiles = (_noise(rng, (rng.randint(7, 14),) * 2 + (3,)) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(tiles).resize((size, size), Image.Resampling.NEAREST))


def rings(rng: random.Random, size: int) -> np.ndarray:
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    far = np.hypot(ramp[None, :] - rng.random(), ramp[:, None] - rng.random()) * rng.uniform(10, 30)
    colours = np.array([_any_colour(rng) for _ in range(rng.randint(2, 4))], dtype=np.uint8)
    return colours[np.floor(far).astype(int) % len(colours)]


TRAINED_KINDS: tuple[Maker, ...] = (
    clouds,
    clouds,
    landscape,
    landscape,
    plasma,
    stripes,
    checker,
    scribble,
    speckle,
    crowd,
)
HELD_OUT_KINDS: tuple[Maker, ...] = (voronoi, mosaic, rings)


def draw_out_of_scope(rng: random.Random, size: int = 84, kinds: tuple[Maker, ...] = TRAINED_KINDS) -> np.ndarray:
    """A picture (size, size, 3) uint8 of one of the kinds."""
    return rng.choice(kinds)(rng, size)
