"""Hard negatives: out-of-scope pictures that resemble scenes, with bodies, lines, specks or text on a plain ground.

They are drawn larger and scaled down, so that their edges are as soft as in a photograph.
"""

import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from longva_demo.tiny.draw import text_mask
from longva_demo.tiny.scenes import WORDS

SCALE = 3
MIN_STEP = 30  # smallest difference between neighbouring pixels that counts as content
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _grey(rng: random.Random, low: int, high: int) -> tuple[int, int, int]:
    level, tint = rng.randint(low, high), rng.randint(0, 14)
    return tuple(min(255, max(0, level + rng.randint(-tint, tint))) for _ in range(3))  # type: ignore[return-value]


def _texture(rng: random.Random, side: int, cells: int) -> np.ndarray:
    """Smooth noise (side, side) around 0 with about `cells` blobs per side."""
    noise = np.random.default_rng(rng.getrandbits(32)).random((cells, cells), dtype=np.float32)
    picture = Image.fromarray((noise * 255).astype(np.uint8))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 127.5 - 1


def _ground(rng: random.Random, side: int) -> np.ndarray:
    """(side, side, 3): flat, a gradient, streaked or softly mottled."""
    first = _colour(rng) if rng.random() < 0.5 else _grey(rng, *rng.choice(((0, 60), (190, 255))))
    ground = np.broadcast_to(np.array(first, np.float32), (side, side, 3)).copy()
    chance, ramp = rng.random(), np.linspace(-1, 1, side, dtype=np.float32)
    if chance < 0.3:
        turn = rng.uniform(0, 2 * math.pi)
        along = math.cos(turn) * ramp[None, :] + math.sin(turn) * ramp[:, None]
        ground += along[..., None] * np.array([rng.uniform(-60, 60) for _ in range(3)], np.float32)
    elif chance < 0.5:
        streaks = _texture(rng, side, rng.randint(8, 40))[:, :1] if rng.random() < 0.7 else _texture(rng, side, 12)
        ground += streaks[..., None] * rng.uniform(5, 40)
    elif chance < 0.75:
        ground += _texture(rng, side, rng.randint(2, 6))[..., None] * rng.uniform(8, 60)
    return ground


def _outline(rng: random.Random, roughness: float) -> list[tuple[float, float]]:
    """A closed curve around (0, 0) at a distance of about 1, with bulges and sometimes limbs."""
    waves = [(rng.uniform(-1, 1) * roughness / n, rng.uniform(0, 2 * math.pi), n) for n in range(2, 8)]
    points = []
    for turn in np.linspace(0, 2 * math.pi, 90, endpoint=False):
        far = 1 + sum(height * math.cos(n * turn + shift) for height, shift, n in waves)
        points.append((max(0.15, far) * math.cos(turn), max(0.15, far) * math.sin(turn)))
    return points


def _paint_body(rng: random.Random, ground: np.ndarray, roughness: float, radius: float) -> np.ndarray:
    """A textured body, shaded from one side, on the ground."""
    side = len(ground)
    x, y = (side * rng.uniform(0.3, 0.7) for _ in range(2))
    wide, high = radius * rng.uniform(0.7, 1.3), radius * rng.uniform(0.7, 1.3)
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).polygon([(x + wide * a, y + high * b) for a, b in _outline(rng, roughness)], fill=255)
    cover = np.asarray(mask.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3))), dtype=np.float32)[..., None] / 255
    grain = sum(_texture(rng, side, cells) * rng.uniform(5, 50) for cells in rng.sample((6, 12, 24, 48, 90), 3))
    ramp, turn = np.linspace(-1, 1, side, dtype=np.float32), rng.uniform(0, 2 * math.pi)
    shade = (math.cos(turn) * ramp[None, :] + math.sin(turn) * ramp[:, None]) * rng.uniform(0, 160)
    body = np.array(_colour(rng), np.float32) * rng.uniform(0.2, 1) + (grain + shade)[..., None]
    return ground * (1 - cover) + body * cover


def globe(rng: random.Random, side: int) -> np.ndarray:
    return _paint_body(rng, _ground(rng, side), 0.03, side * rng.uniform(0.15, 0.42))


def body(rng: random.Random, side: int) -> np.ndarray:
    """One to three blobs that suggest animals, faces or clouds."""
    picture = _ground(rng, side)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        picture = _paint_body(rng, picture, rng.uniform(0.2, 0.9), side * rng.uniform(0.08, 0.4))
    return picture


def page(rng: random.Random, side: int) -> np.ndarray:
    """A screen or a printed page: thin lines, boxes and rows of strokes too small to read."""
    light = rng.random() < 0.7
    picture = Image.new("RGB", (side, side), _grey(rng, 225, 255) if light else _grey(rng, 0, 60))
    pen, ink = ImageDraw.Draw(picture), _grey(rng, 0, 170) if light else _grey(rng, 120, 255)
    for _ in range(rng.randint(0, 6)):
        at, colour = rng.uniform(0, side), ink if rng.random() < 0.5 else _colour(rng)
        line = [(0, at), (side, at)] if rng.random() < 0.7 else [(at, 0), (at, side)]
        pen.line(line, fill=colour, width=rng.randint(1, 4))
    for _ in range(rng.randint(0, 4)):
        x, y = rng.uniform(-0.1, 0.9) * side, rng.uniform(-0.1, 0.9) * side
        box = (x, y, x + rng.uniform(0.1, 0.8) * side, y + rng.uniform(0.05, 0.4) * side)
        fill = _colour(rng) if rng.random() < 0.3 else None
        pen.rounded_rectangle(box, radius=rng.uniform(0, 12), outline=ink, fill=fill, width=rng.randint(1, 3))
    high = rng.uniform(0.012, 0.04) * side
    y = rng.uniform(0, 0.5) * side
    for _ in range(rng.randint(1, 14)):
        x, end = rng.uniform(0.02, 0.4) * side, rng.uniform(0.5, 1) * side
        while x < end:
            wide = high * rng.uniform(0.3, 0.7)
            pen.line((x, y + rng.uniform(0, 0.4) * high, x + wide * rng.random(), y + high), fill=ink, width=2)
            pen.line((x, y + high * rng.random(), x + wide, y + high * rng.random()), fill=ink, width=2)
            x += wide * (1.3 if rng.random() < 0.85 else 2.6)
        y += high * rng.uniform(1.4, 3)
    return np.asarray(picture, dtype=np.float32)


def title(rng: random.Random, side: int) -> np.ndarray:
    """Rows of text without any word of the scenes."""
    picture = _ground(rng, side)
    ink = np.array(_colour(rng) if rng.random() < 0.5 else _grey(rng, 200, 255), np.float32)
    y = rng.uniform(0.15, 0.6)
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = "".join(rng.choice(LETTERS) for _ in range(rng.randint(6, 22)))
        if any(word in text for word in WORDS):
            continue
        mask = text_mask(text, rng.randrange(10), round(side * rng.uniform(0.04, 0.2)))[:, : side - 2]
        top, left = min(round(y * side), side - len(mask)), rng.randint(0, side - mask.shape[1])
        part = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
        part += mask[..., None] * (ink - part)
        y += rng.uniform(0.12, 0.3)
    if rng.random() < 0.4:
        picture = icons(rng, side, picture)
    return picture


def icons(rng: random.Random, side: int, ground: np.ndarray | None = None) -> np.ndarray:
    """Objects of thin lines: rings, rounded boxes, arcs, polylines."""
    ground = _ground(rng, side) if ground is None else ground
    picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randint(1, 7)):
        x, y, size = rng.uniform(0, 0.9) * side, rng.uniform(0, 0.9) * side, rng.uniform(0.04, 0.35) * side
        colour, width = _colour(rng), rng.randint(1, 5)
        box = (x, y, x + size * rng.uniform(0.2, 1), y + size)
        chance = rng.random()
        if chance < 0.3:
            pen.rounded_rectangle(box, radius=size * rng.uniform(0, 0.3), outline=colour, width=width)
        elif chance < 0.5:
            pen.ellipse(box, outline=colour, width=width)
        elif chance < 0.7:
            pen.arc(box, rng.uniform(0, 180), rng.uniform(180, 400), fill=colour, width=width)
        else:
            points = [(x + rng.uniform(-1, 1) * size, y + rng.uniform(-1, 1) * size) for _ in range(rng.randint(2, 6))]
            pen.line(points, fill=colour, width=width)
    return np.asarray(picture, dtype=np.float32)


def specks(rng: random.Random, side: int) -> np.ndarray:
    """Grains, stars or cells of a few pixels, few or many, scattered or in rows."""
    cells = rng.choice((42, 60, 84, 126))
    generator = np.random.default_rng(rng.getrandbits(32))
    there = generator.random((cells, cells)) < math.exp(rng.uniform(math.log(0.005), math.log(0.5)))
    if rng.random() < 0.3:
        there &= generator.random((cells, 1)) < 0.4
    mask = Image.fromarray((there * 255).astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    cover = np.asarray(mask, dtype=np.float32)[..., None] / 255
    return _ground(rng, side) * (1 - cover) + np.array(_colour(rng), np.float32) * cover


def fine(rng: random.Random, side: int) -> np.ndarray:
    """Waves of a few pixels, straight or circular, or colour noise as fine."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    x, y = ramp[None, :] - rng.uniform(-0.5, 0.5), ramp[:, None] - rng.uniform(-0.5, 0.5)
    low, high = (np.array(_colour(rng), np.float32) for _ in range(2))
    chance = rng.random()
    if chance < 0.3:
        noise = np.random.default_rng(rng.getrandbits(32)).random((side // 3, side // 3, 3), dtype=np.float32)
        fresh = Image.fromarray((noise * 255).astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
        return np.asarray(fresh, dtype=np.float32) * rng.uniform(0.3, 1)
    phase = x**2 + y**2 if chance < 0.65 else x * math.cos(chance * 20) + y * math.sin(chance * 20)
    wave = 0.5 + 0.5 * np.sin(phase * rng.uniform(40, 300))
    return low + (high - low) * wave[..., None]


KINDS = (globe, body, body, body, page, page, title, icons, specks, fine)


def draw_hard_negative(rng: random.Random, size: int) -> np.ndarray:
    """A picture (size, size, 3) uint8 of one of the kinds, never a plain ground alone."""
    while True:
        large = np.clip(rng.choice(KINDS)(rng, SCALE * size), 0, 255).astype(np.uint8)
        picture = np.asarray(Image.fromarray(large).resize((size, size), Image.Resampling.BICUBIC))
        if np.abs(np.diff(picture.astype(int), axis=0)).max() >= MIN_STEP:
            return picture
