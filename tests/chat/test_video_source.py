"""A video as a source: decoded beside a chat or ahead of it, stopped, started again, and stored."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from longva_demo.chat import (
    LocalEngine,
)
from longva_demo.chat.frame_store import FrameStore
from longva_demo.video import plan_frames, probe
from tests.chat.conftest import make_source


def test_frames_arrive_while_another_thread_decodes(engine: LocalEngine, clip: Path) -> None:
    """The page decodes on one thread, the question follows on another; nothing is decoded twice."""
    source = make_source(engine, clip)
    thread = threading.Thread(target=lambda: list(source.frames()))
    thread.start()
    count = sum(len(pixels) for pixels in source.pixels(7, lambda: False) if pixels is not None)
    thread.join()
    assert count == 40
    assert source.indices == list(source.plan.indices)


def test_a_cancelled_decoding_starts_again(engine: LocalEngine, clip: Path) -> None:
    source = make_source(engine, clip)
    batches = source.frames()
    next(batches)
    batches.close()
    assert not source.complete
    count = sum(len(pixels) for pixels in source.pixels(16, lambda: False) if pixels is not None)
    assert count == 40
    info = probe(clip)
    assert source.seconds == pytest.approx(list(plan_frames(info, 40).seconds))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_previews_store_nothing_and_the_models_pixels_follow(engine: LocalEngine, clip: Path) -> None:
    """40 frames of 60 are dense: the page gets small pictures first, the model's pixels come in the background."""
    source = make_source(engine, clip)
    assert source.is_dense
    small = list(source.previews((48, 32)))
    assert np.concatenate([batch.pixels for batch in small]).shape == (40, 32, 48, 3)
    assert [index for batch in small for index in batch.indices] == list(source.plan.indices)
    assert (source.indices, source.complete) == ([], False)
    assert source.prefetch()
    assert not source.prefetch()
    wait_until(lambda: source.complete)
    assert source.indices == list(source.plan.indices)
    assert source.stored_frame(39).shape == (56, 56, 3)


def test_a_paused_prefetch_starts_again(engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source(engine, clip)
    resume = threading.Event()
    append = FrameStore._append
    monkeypatch.setattr(FrameStore, "_append", lambda *args: (resume.wait(60), append(*args)))
    source.prefetch()
    source.pause()
    resume.set()
    wait_until(lambda: not source.frame_store.is_writing)
    assert not source.complete
    assert sum(len(pixels) for pixels in source.pixels(16, lambda: False) if pixels is not None) == 40


def test_few_frames_of_many_are_not_dense(engine: LocalEngine, clip: Path) -> None:
    assert not make_source(engine, clip, budget=8).is_dense
