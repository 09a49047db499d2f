"""The engine's own loop gives the original code's tokens, and its cache is a cache."""

import json
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from longva_demo.chat import Engine, Sampling
from longva_demo.chat.cache import GrowingCache
from longva_demo.chat.turnstile import Turnstile
from longva_demo.model import load
from longva_demo.settings import Settings

FIRST, FIRST_ANSWER = "What happens in the video?", "A dog runs along the beach."
SECOND = "How many people walk over the bridge?"


@pytest.mark.parametrize("name", ["a", "b"])
def test_greedy_tokens_of_the_original(reference: Path, name: str) -> None:
    """A first question, and a second one with the frames kept in the first turn, frame chunk by frame chunk."""
    engine = Engine(load(str(reference / name / "checkpoint"), device="cpu", dtype="float32"), Settings())
    template = engine.template
    cases = json.loads((reference / name / "cases.json").read_text())["cases"]
    frames = load_file(reference / "inputs" / "video_5f_portrait_48x80.safetensors")["frames"]
    pixels = engine.processor.preprocess_frames(frames)
    cache = engine.new_cache(64)
    engine.read_text(template.header, cache)
    for chunk in (pixels[:2], pixels[2:]):
        engine.read_features(engine.encode_frames(chunk), cache)
    prefix_length = cache.get_seq_length()

    first = template.question(FIRST, first=True, has_frames=True)
    expected = cases["conv_video_turn1"]["greedy_ids_generation_config"]
    logits = engine.read_text(first, cache)
    assert list(engine.generate(logits, cache, Sampling(max_new_tokens=len(expected)))) == expected

    cache.cut_to(prefix_length)
    answer = [*engine.processor.encode_text(FIRST_ANSWER), template.end_of_turn]
    second = [*first, *answer, *template.question(SECOND, first=False, has_frames=True)]
    case = cases["extra_video_turn2_tag_in_first_turn"]
    expected = case["greedy_ids_generation_config"]
    logits = engine.read_text(second, cache)
    assert cache.get_seq_length() == case["sequence_length"]
    assert list(engine.generate(logits, cache, Sampling(max_new_tokens=len(expected)))) == expected


def test_the_cache_grows_and_is_cut() -> None:
    like = torch.empty(0)
    cache = GrowingCache(num_layers=2, num_kv_heads=2, head_dim=4, num_tokens=3, like=like)
    states = torch.randn(1, 2, 20, 4)
    for start, end in ((0, 2), (2, 3), (3, 9), (9, 20)):
        for layer in range(2):
            keys, values = cache.update(states[:, :, start:end], -states[:, :, start:end], layer)
            assert torch.equal(keys, states[:, :, :end])
            assert torch.equal(values, -states[:, :, :end])
    cache.cut_to(5)
    assert cache.get_seq_length() == 5
    keys, _values = cache.update(states[:, :, 10:12], states[:, :, 10:12], 0)
    assert torch.equal(keys, torch.cat([states[:, :, :5], states[:, :, 10:12]], dim=2))
    assert cache.num_bytes >= 2 * 2 * 20 * 2 * 4 * 4


def test_a_character_of_several_tokens_is_not_torn(reference: Path) -> None:
    engine = Engine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())
    text = "naïve 你好 🎬"
    stream = engine.text_stream()
    pieces = [stream.add(token) for token in engine.processor.encode_text(text)]
    assert "".join(pieces) == text
    assert len(pieces) > len(text)
    assert "\ufffd" not in "".join(pieces)


def test_the_turnstile_serves_in_order() -> None:
    """Somebody who comes through again and again does not keep others waiting: the next turn is theirs."""
    turnstile, order = Turnstile(), []
    waiting = threading.Barrier(2)

    def short_question() -> None:
        waiting.wait()
        with turnstile:
            order.append("short")

    thread = threading.Thread(target=short_question)
    thread.start()
    with turnstile:
        waiting.wait()
        while not turnstile._waiting:
            time.sleep(0.001)
    for _ in range(100):
        with turnstile:
            order.append("long")
    thread.join()
    assert order[0] == "short"
    assert len(order) == 101
