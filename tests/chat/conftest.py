"""A small clip, and an engine on a random checkpoint of the reference data: its text is noise, its maths LongVA's."""

from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.chat import ChatSession, LocalEngine, Progress, Sampling, TextDelta, VideoSource
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe

GREEDY = Sampling(max_new_tokens=12)


@pytest.fixture(scope="session")
def engine(reference: Path) -> LocalEngine:
    return LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seed=0)


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "other.mp4", seed=1)


def write_clip(path: Path, seed: int, num_frames: int = 60) -> Path:
    """Blocks of random colours that change with every frame, 96 × 64, ten frames a second."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(num_frames):
            blocks = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(blocks, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_source(engine: LocalEngine, path: Path, budget: int = 40, **range_seconds: float) -> VideoSource:
    info = probe(path)
    return VideoSource(info, plan_frames(info, budget, **range_seconds), engine.processor)


def answer(session: ChatSession, question: str, sampling: Sampling = GREEDY) -> str:
    """The whole answer, as streamed; the finished turn must say the same."""
    text = "".join(event.text for event in session.ask(question, sampling) if isinstance(event, TextDelta))
    assert session.turns[-1].question == question
    assert session.turns[-1].answer == text
    return text


def progress_of(events: list[object]) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress)]
