"""Photographs, a film and test patterns, all of them out of scope. They are used in the evaluation only.

The photographs and the film come with Gradio and matplotlib, the patterns with FFmpeg.
"""

import random
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from PIL import Image

from longva_demo.tiny.degrade import h264
from longva_demo.video import decode_frames, plan_frames, probe

SIDE = 336
PHOTOGRAPHS = ("bus.png", "cheetah.jpg", "cheetah1.jpg", "groot.jpeg", "lion.jpg", "tower.jpg")
FILM = "world.mp4"  # the Earth turns
# FFmpeg's sources, with the options that make their picture visible and repeatable.
PATTERNS = {
    **dict.fromkeys(("allrgb", "colorspectrum", "haldclutsrc", "mandelbrot", "pal100bars", "pal75bars"), ""),
    **dict.fromkeys(("rgbtestsrc", "sierpinski", "smptebars", "smptehdbars", "testsrc", "testsrc2", "yuvtestsrc"), ""),
    "cellauto": "seed=1",
    "zoneplate": "kx2=300:ky2=300",
}


def _assets() -> Path:
    return Path(str(distribution("gradio").locate_file("gradio/media_assets")))


@lru_cache(maxsize=1)
def photographs() -> list[Image.Image]:
    import matplotlib

    files = [_assets() / "images" / name for name in PHOTOGRAPHS]
    files.append(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    return [Image.open(file).convert("RGB") for file in files]


def _piece(rng: random.Random, picture: Image.Image, min_share: float) -> Image.Image:
    """A square crop of at least `min_share` of the shorter side, sometimes mirrored."""
    side = round(min(picture.size) * rng.uniform(min_share, 1))
    left, top = rng.randint(0, picture.width - side), rng.randint(0, picture.height - side)
    piece = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece


def photograph(rng: random.Random) -> np.ndarray:
    """uint8 (1, 336, 336, 3)."""
    return np.asarray(_piece(rng, rng.choice(photographs()), 0.6))[None]


def pan(rng: random.Random) -> np.ndarray:
    """A camera panning over a photograph: uint8 (frames, 168, 168, 3)."""
    large = _piece(rng, rng.choice(photographs()), 0.9)
    half, num_frames = SIDE // 2, rng.choice((8, 16, 32))
    begin, end = ((rng.uniform(0, half), rng.uniform(0, half)) for _ in range(2))
    corners = np.linspace(begin, end, num_frames).round().astype(int)
    return np.stack([np.asarray(large)[y : y + half, x : x + half] for x, y in corners])


def film(rng: random.Random) -> np.ndarray:
    """Frames from a random part of the film: uint8 (frames, height, width, 3)."""
    path = _assets() / "videos" / FILM
    info = probe(path)
    start = rng.uniform(0, info.duration_seconds * 0.6)
    plan = plan_frames(info, rng.choice((8, 16, 32)), start)
    return np.concatenate([batch.pixels for batch in decode_frames(path, plan, info=info) if len(batch)])


def pattern(rng: random.Random) -> np.ndarray:
    """One to eight frames of one of FFmpeg's test patterns: uint8 (frames, 336, width, 3)."""
    graph = Graph()
    name = rng.choice(tuple(PATTERNS))
    source, reduced = graph.add(name, PATTERNS[name]), graph.add("scale", f"-2:{SIDE}")
    form, sink = graph.add("format", "rgb24"), graph.add("buffersink")
    source.link_to(reduced)
    reduced.link_to(form)
    form.link_to(sink)
    graph.configure()
    pulled = [graph.vpull() for _ in range(rng.choice((1, 8)))]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in pulled if isinstance(frame, av.VideoFrame)])


REAL: dict[str, Callable[[random.Random], np.ndarray]] = {
    "photographs": photograph,
    "panned photographs": pan,
    "a film": film,
    "test patterns": pattern,
}


def real_frames(rng: random.Random, kind: str) -> np.ndarray:
    """Frames of one of `REAL`. All but the film, which is compressed already, go through H.264."""
    frames = REAL[kind](rng)
    return frames if kind == "a film" else h264(frames, rng.randint(20, 28), preset="veryfast")
