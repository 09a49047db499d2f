"""The built-in model, and a drawn clip in which things appear and disappear."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import BACKGROUND_NAMES, COLOUR_NAMES, SHAPES, Scene, Thing, paint
from longva_demo.video import plan_frames, probe

SIDE, FPS, SECONDS = 168, 10, 40
# (query, from, to): what is shown when.
STAR, CIRCLE = ("a red star", 12.3, 18.1), ("a yellow circle", 27.0, 31.4)


def thing(colour: str, shape: str, x: float, y: float) -> Thing:
    number = COLOUR_NAMES.index(colour)
    return Thing(SHAPES.index(shape), number, x=x, y=y, radius=0.15, rgb=paint(random.Random(0), number))


def write_scenes(path: Path, scenes: Sequence[Scene]) -> Path:
    """One frame per scene, with H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        drawn = {scene: draw(scene, SIDE) for scene in set(scenes)}
        for scene in scenes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn[scene]), format="rgb24")))
        container.mux(stream.encode())
    return path


def scenes_with(*shown: tuple[str, float, float]) -> list[Scene]:
    """SECONDS of a blue square, and each of `shown` in its time."""
    empty = Scene(BACKGROUND_NAMES.index("gray"), (thing("blue", "square", 0.2, 0.8),), rgb=(128, 128, 128))
    named = {query: thing(*query.split()[1:3], x=0.5 + 0.3 * number, y=0.3) for number, (query, *_) in enumerate(shown)}
    scenes = []
    for at in range(FPS * SECONDS):
        there = [named[query] for query, start, end in shown if start <= at / FPS + 1e-6 < end]
        scenes.append(replace(empty, things=(*empty.things, *there)))
    return scenes


@pytest.fixture(scope="session")
def tiny() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings())


@pytest.fixture(scope="session")
def events_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("moments") / "events.mp4", scenes_with(STAR, CIRCLE))


def make_source(engine: LocalEngine, path: Path, budget: int, **range_seconds: float) -> VideoSource:
    info = probe(path)
    return VideoSource(info, plan_frames(info, budget, **range_seconds), engine.processor)
