"""The engine's loop gives the original code's tokens; the KV cache, the text stream and the model's thread."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from longva_demo.chat import LocalEngine, Sampling
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.model_thread import ModelThread
from longva_demo.chat.prefill import image_chunks
from longva_demo.chat.text_stream import TextStream
from longva_demo.model import load
from longva_demo.settings import Settings
from tests.model.golden import CHECKPOINTS

FIRST, FIRST_ANSWER = "What happens in the video?", "A dog runs along the beach."
SECOND = "How many people walk over the bridge?"


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: "-".join(path.parts[-4:-1]))
def test_greedy_tokens_of_the_original(checkpoint: Path) -> None:
    """A first question, and a second one with the frames in the first turn, prefilled chunk by chunk."""
    engine = LocalEngine(load(str(checkpoint), device="cpu", dtype="float32"), Settings())
    template = engine.template
    cases = json.loads((checkpoint.parent / "cases.json").read_text())["cases"]
    frames = load_file(checkpoint.parents[1] / "inputs" / "video_5f_portrait_48x80.safetensors")["frames"]
    pixels = engine.processor.preprocess_frames(frames)
    cache = engine.new_cache(64)
    engine.prefill_text(template.header, cache)
    for chunk in (pixels[:2], pixels[2:]):
        engine.prefill_frames([engine.encode_frames(chunk)], cache)
    prefix_length = cache.get_seq_length()

    case = cases["video_5f_portrait_48x80"]
    logits = engine.prefill_text(template.question(case["question"], first=True, has_frames=True), cache)
    assert cache.get_seq_length() == case["sequence_length"]
    assert_same_tokens(engine, logits, cache, case)

    cache.truncate(prefix_length)
    case = cases["extra_video_turn2_tag_in_first_turn"]
    answer = [*engine.processor.encode_text(FIRST_ANSWER), template.end_of_turn]
    second = template.question(SECOND, first=False, has_frames=True)
    logits = engine.prefill_text([*template.question(FIRST, first=True, has_frames=True), *answer, *second], cache)
    assert cache.get_seq_length() == case["sequence_length"]
    assert_same_tokens(engine, logits, cache, case)


def assert_same_tokens(engine: LocalEngine, logits: torch.Tensor, cache: GrowingCache, case: dict[str, Any]) -> None:
    expected = case["greedy_ids_generation_config"]
    generated = engine.generate(logits, cache, Sampling(max_new_tokens=len(expected)))
    assert [token for token, _ in generated] == expected


def test_the_cache_grows_and_is_truncated() -> None:
    like = torch.empty(0)
    cache = GrowingCache(num_layers=2, num_kv_heads=2, head_dim=4, num_tokens=3, like=like)
    states = torch.randn(1, 2, 20, 4)
    for start, end in ((0, 2), (2, 3), (3, 9), (9, 20)):
        for layer in range(2):
            keys, values = cache.update(states[:, :, start:end], -states[:, :, start:end], layer)
            assert torch.equal(keys, states[:, :, :end])
            assert torch.equal(values, -states[:, :, :end])
    cache.truncate(5)
    assert cache.get_seq_length() == 5
    keys, _values = cache.update(states[:, :, 10:12], states[:, :, 10:12], 0)
    assert torch.equal(keys, torch.cat([states[:, :, :5], states[:, :, 10:12]], dim=2))
    assert cache.num_bytes >= 2 * 2 * 20 * 2 * 4 * 4


def test_a_character_of_several_tokens_is_not_split(reference: Path) -> None:
    engine = LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())
    text = "naïve 你好 🎬"
    stream = TextStream(engine.processor)
    pieces = [stream.add(token) for token in engine.processor.encode_text(text)]
    assert "".join(pieces) == text
    assert len(pieces) > len(text)
    assert "\ufffd" not in "".join(pieces)


def test_calls_run_in_order_of_arrival_on_one_thread() -> None:
    """Whoever calls again and again does not starve others: the next turn is theirs."""
    model, order, idents = ModelThread(), [], set()
    arrived = threading.Event()

    def record(name: str) -> None:
        order.append(name)
        idents.add(threading.get_ident())

    short = threading.Thread(target=lambda: (arrived.set(), model.run(lambda: record("short"))))

    def first() -> None:
        short.start()
        arrived.wait()
        while not model._turn._waiting:
            time.sleep(0.001)

    model.run(first)
    for _ in range(100):
        model.run(lambda: record("long"))
    short.join()
    assert order[0] == "short"
    assert len(order) == 101
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_a_forked_process_can_use_the_model() -> None:
    """As on ZeroGPU: threads do not survive a fork."""
    model = ModelThread()
    assert model.run(lambda: 1) == 1
    child = os.fork()
    if child == 0:
        os._exit(model.run(lambda: 7))
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 7


def test_long_texts_and_large_pictures_take_several_steps(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others get their turn between chunks, and the logits are those of one pass."""
    engine = LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())
    ids = engine.processor.encode_text("The dog runs along the beach. " * 9)
    side = engine.processor.image_size
    slots = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)

    def prefill() -> tuple[torch.Tensor, int]:
        steps = []
        monkeypatch.setattr(engine, "_step", lambda use: (steps.append(use), LocalEngine._step(engine, use))[1])
        cache = engine.new_cache(64)
        for chunk in image_chunks(slots):
            engine.prefill_image(chunk, cache)
        logits = engine.prefill_text(ids, cache)
        assert engine.prefill_text(ids[:1], cache).shape == logits.shape
        return logits, len(steps)

    whole, num_steps = prefill()
    assert num_steps == 1 + 2 + 2  # a cache; the picture, encoded and prefilled; two texts
    monkeypatch.setattr("longva_demo.chat.steps.MAX_STEP_TOKENS", 10)
    monkeypatch.setattr("longva_demo.chat.prefill.PREFILL_CHUNK_FRAMES", 3)
    in_chunks, num_steps = prefill()
    assert torch.allclose(in_chunks, whole, atol=1e-4)
    size = engine.loaded.model.config.tokens_per_grid
    assert num_steps == 1 + sum(1 + -(-grids * size // 10) for grids in (3, 3, 1)) + -(-len(ids) // 10) + 1
