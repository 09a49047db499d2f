"""Draws and encodes clips for the benchmarks."""

from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, seconds: float, fps: int, width: int, height: int, codec: str = "libx264") -> None:
    """A drifting colour gradient with a little noise, with the encoder's default GOP structure."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    noise = rng.integers(0, 24, (8, height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"preset": "veryfast"} if codec == "libx264" else {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * fps)):
            ramp = np.stack([x + 5 * number, y + 3 * number, x + y - 2 * number], axis=-1) % 200
            image = ramp.astype(np.uint8) + noise[number % len(noise)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def textured(height: int, width: int) -> np.ndarray:
    """uint8 (height, width): noise at several scales, like foliage and clouds."""
    random = np.random.default_rng(0)
    total = np.zeros((height, width))
    for scale, strength in ((128, 60), (32, 30), (8, 12), (2, 5)):
        coarse = random.standard_normal((height // scale + 2, width // scale + 2))
        total += strength * np.kron(coarse, np.ones((scale, scale)))[:height, :width]
    return np.clip(128 + total, 0, 255).astype(np.uint8)


def scene(landscape: np.ndarray, number: int) -> np.ndarray:
    """uint8 (1620, 1920): the planes of one 1080p frame in 4:2:0."""
    top = 160 + int(140 * np.sin(number / 190))
    left = 300 + int(280 * np.sin(number / 310))
    picture = np.full((1620, 1920), 128, dtype=np.uint8)
    picture[:1080] = landscape[top : top + 1080, left : left + 1920]
    for disc in range(6):
        row = int(540 + 400 * np.sin(number / 47 + disc))
        column = int(960 + 800 * np.cos(number / 61 + 2 * disc))
        picture[row - 60 : row + 60, column - 60 : column + 60] = 30 + 36 * disc
    return picture
