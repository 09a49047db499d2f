"""Clips with drawn text: titles, signs that move, and slides, at 16 pixels and more, through H.264."""

import random
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORDS = [
    *("departures", "platform", "seven", "welcome", "annual", "report", "revenue", "growth", "summary", "chapter"),
    *("introduction", "method", "results", "conclusion", "kitchen", "garden", "bicycle", "museum", "entrance"),
    *("closed", "tomorrow", "morning", "speed", "limit", "north", "station", "exit", "library", "coffee", "bread"),
    *("market", "street", "bridge", "river", "mountain", "winter", "summer", "autumn", "music", "theatre"),
    *("ticket", "window", "green", "yellow", "orange", "purple", "silver", "number", "second", "minute", "science"),
    *("history", "language", "reading", "writing", "question", "answer", "energy", "water"),
]
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
MIN_HEIGHT = 16  # pixels, of a capital letter's line
FPS = 5


@dataclass(frozen=True)
class Sign:
    """A line of text that is shown from `start` to `end` (seconds). `height` is its font's size in pixels."""

    text: str
    start: float
    end: float
    left: int
    top: int
    height: int
    font: str
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]  # of the text and of what is behind it


def make_signs(random_: random.Random, size: tuple[int, int], seconds: float) -> list[Sign]:
    """Signs in rows that do not overlap, of different heights, each for a few seconds; some together, like a slide."""
    width, height = size
    signs = []
    top = height // 20
    while top < height * 0.85:
        font_height = random_.choice([MIN_HEIGHT, MIN_HEIGHT, 20, 24, 32, height // 12])
        start = 0.0
        while start < seconds - 6:
            start += random_.uniform(0, 8)
            end = min(seconds, start + random_.uniform(5, 15))
            text = " ".join(random_.sample(WORDS, random_.randint(1, 4))).capitalize()
            if random_.random() < 0.2:
                text += f" {random_.randint(2, 99)}"
            font = random_.choice(FONTS)
            text_width = load_font(font, font_height).getlength(text)
            if text_width < width * 0.85 and start < seconds - 3:
                left = round(random_.uniform(width * 0.04, width * 0.94 - text_width))
                dark, light = random_colour(random_, 0, 70), random_colour(random_, 190, 255)
                colours = (dark, light) if random_.random() < 0.5 else (light, dark)
                signs.append(Sign(text, start, end, left, top, font_height, font, colours))
            start = end + random_.uniform(2, 6)
        top += round(font_height * 2.4)
    return signs


def random_colour(random_: random.Random, low: int, high: int) -> tuple[int, int, int]:
    return random_.randint(low, high), random_.randint(low, high), random_.randint(low, high)


def load_font(name: str, height: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), height)


def draw_clip(path: Path, signs: list[Sign], size: tuple[int, int], seconds: float, seed: int) -> Path:
    """The signs over a background that moves."""
    width, height = size
    waves = np.random.default_rng(seed).uniform(-0.02, 0.02, (6, 2))
    rows, columns = np.mgrid[0:height:4, 0:width:4]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * FPS)):
            now = number / FPS
            field = sum(np.sin(a * columns + b * rows + now * (1 + k) / 3) for k, (a, b) in enumerate(waves))
            grey = (128 + 14 * field).clip(0, 255).astype(np.uint8)
            background = np.stack([grey, np.roll(grey, 9, 0), np.roll(grey, 17, 1)], axis=-1)
            picture = Image.fromarray(background).resize(size)
            draw = ImageDraw.Draw(picture)
            for sign in signs:
                if sign.start <= now < sign.end:
                    draw_sign(draw, sign)
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def draw_sign(draw: ImageDraw.ImageDraw, sign: Sign) -> None:
    font = load_font(sign.font, sign.height)
    ink, behind = sign.colours
    left, top, right, bottom = draw.textbbox((sign.left, sign.top), sign.text, font=font)
    margin = sign.height // 3
    draw.rectangle((left - margin, top - margin, right + margin, bottom + margin), behind)
    draw.text((sign.left, sign.top), sign.text, ink, font=font)
