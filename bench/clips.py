"""Clips for the benchmarks, drawn and encoded on the spot."""

from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, seconds: float, fps: int, width: int, height: int, codec: str = "libx264") -> None:
    """A drifting colour gradient with a little noise, yuv420p, with the encoder's default groups of pictures."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    noise = rng.integers(0, 24, (8, height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * fps)):
            ramp = np.stack([x + 5 * number, y + 3 * number, x + y - 2 * number], axis=-1) % 200
            image = ramp.astype(np.uint8) + noise[number % len(noise)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
