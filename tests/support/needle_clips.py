"""Clips that show one digit, and questions about it."""

import random
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from longva_demo.tiny.clips import needles
from longva_demo.tiny.draw import draw
from longva_demo.tiny.questions import QAPair
from longva_demo.tiny.scenes import DIGITS, Scene

SIDE, FPS, SEED = 168, 10, 8_000_000


def write_scenes(path: Path, scenes: tuple[Scene | None, ...]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        last, image = None, np.zeros((SIDE, SIDE, 3), np.uint8)
        for scene in scenes:
            assert scene is not None
            image = image if scene is last else draw(scene, SIDE)
            last = scene
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def clips(num_frames: int, count: int) -> Iterator[tuple[tuple[Scene | None, ...], QAPair, set[int]]]:
    """Scenes, a question about the only digit in them, and the indices of the needle frames that show it."""
    rng = random.Random(SEED + num_frames)
    while count:
        episode = needles(rng, num_frames, 1, 1, letter_share=0.0)
        asked = next((one for one in episode.asked if one.task == "needle"), None)
        if asked is not None:
            count -= 1
            has_digit = [any(t.symbol < len(DIGITS) for t in scene.things) for scene in episode.frames if scene]
            yield episode.frames, asked, {frame for frame, is_needle in enumerate(has_digit) if is_needle}
