"""Frames prefilled some layers at a time, as with 8-bit weights on a processor: the same cache, progress, and Stop."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longva_demo.chat import ChatSession, ImageSource, LocalEngine, Progress, Stage
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.local_engine import DEFAULT_FRAMES, DEFAULT_SECONDS
from longva_demo.chat.prefill import FrameCount
from longva_demo.chat.steps import (
    BACKGROUND_SHARE,
    MAX_PASS_TOKENS,
    MAX_STEP_FRAMES,
    MIN_SLOW_STEP_TOKENS,
    SLOW_STEP_SECONDS,
    StepCost,
)
from longva_demo.model import LongVAConfig
from longva_demo.model.estimate import PREFILL_EFFICIENCY, Estimate, ModelSize, ProcessorSpeed
from tests.chat.conftest import GREEDY, answer, make_source, progress_of

QUESTION = "What is first?"
DESKTOP, LAPTOP, TWO_CORES = (ProcessorSpeed(flop, flop, 20e9, 40e9) for flop in (500e9, 180e9, 76e9))
WITH_VNNI = ProcessorSpeed(170e9, 330e9, 20e9, 40e9)


def estimate_of(config: LongVAConfig, speed: ProcessorSpeed) -> Estimate:
    return Estimate(speed, ModelSize.of(config))


@pytest.fixture
def slow(engine: LocalEngine) -> LocalEngine:
    """An engine on a processor so slow that a step is one frame, or one layer."""
    size = ModelSize.of(engine.loaded.model.config)
    speed = ProcessorSpeed(size.frame_flop / SLOW_STEP_SECONDS, size.frame_flop / SLOW_STEP_SECONDS, 1e3, 1e3)
    return LocalEngine(replace(engine.loaded, estimate=Estimate(speed, size)), engine.settings)


@pytest.fixture
def session(slow: LocalEngine, clip: Path) -> Iterator[ChatSession]:
    session = ChatSession(slow, is_shared=False)
    session.set_source(make_source(slow, clip))
    yield session
    session.close()


def layers(cache: GrowingCache) -> Iterator[torch.Tensor]:
    for layer in range(len(cache.layers)):
        yield from cache.layer_tensors(layer)


def test_the_cache_is_that_of_whole_passes(engine: LocalEngine, slow: LocalEngine) -> None:
    """All layers, the last one too, of which only keys and values are computed; also after other tokens."""
    side = engine.processor.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), np.uint8)
    caches = []
    for one in (engine, slow):
        cache = one.new_cache(64)
        one.prefill_text(one.template.header, cache)
        features = one.encode_frames(pixels)
        steps = list(one.prefill_frames_steps([features[:3], features[3:]], cache))
        assert steps[-1] == 1.0
        caches.append(cache)
    num_layers = engine.loaded.model.config.num_hidden_layers
    assert len(steps) > num_layers
    assert steps == sorted(steps)
    for whole, part in zip(*(layers(cache) for cache in caches), strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


def test_answers_are_those_of_whole_passes(engine: LocalEngine, session: ChatSession, clip: Path) -> None:
    whole = ChatSession(engine, is_shared=False)
    whole.set_source(make_source(engine, clip))
    for question in (QUESTION, "And then?"):
        assert answer(session, question) == answer(whole, question)
    whole.close()


def test_progress_counts_frames_up_to_the_last(session: ChatSession) -> None:
    events = [event for event in progress_of(list(session.ask(QUESTION, GREEDY))) if event.stage == Stage.PREFILL]
    done = [event.done for event in events]
    assert done == sorted(done)
    assert (done[-1], events[-1].total) == (40, 40)
    assert done.count(40) == 1
    assert len(set(done)) > 15
    shares = [event.share_done for event in events]
    assert shares == sorted(set(shares)), "each step is seen"
    assert shares[-1] == 1.0


def test_a_picture_shows_progress_too(slow: LocalEngine) -> None:
    side = slow.processor.image_size
    session = ChatSession(slow, is_shared=False)
    picture = ImageSource(Image.new("RGB", (3 * side, 3 * side)), slow.processor)
    session.set_source(picture)
    events = progress_of(list(session.ask(QUESTION, GREEDY)))
    assert (events[-1].stage, events[-1].done, events[-1].total) == (
        Stage.PREFILL,
        picture.num_frames,
        picture.num_frames,
    )
    assert {event.done for event in events} == set(range(1, picture.num_frames + 1))
    session.close()


@pytest.mark.parametrize("stopped_at", [1, 10, 20])
def test_stop_ends_a_prefill_within_one_step(session: ChatSession, stopped_at: int) -> None:
    num_steps, before = 0, session.engine._step

    def counted(use: object) -> object:
        nonlocal num_steps
        num_steps += 1
        return before(use)

    session.engine._step = counted  # type: ignore[method-assign]
    for number, event in enumerate(session.ask(QUESTION, GREEDY)):
        assert isinstance(event, Progress)
        if number == stopped_at:
            session.stop()
            num_steps = 0
    assert num_steps <= 1
    assert session.turns == []
    assert not session.prefix.is_cached
    assert answer(session, QUESTION)


def test_frames_that_are_encoded_count_in_part() -> None:
    count = FrameCount(total=10, encoding_share=0.2, encoded=10)
    assert [count.progress(share).done for share in (0.0, 0.5, 1.0)] == [2, 6, 10]
    count.cached = 5
    assert (count.progress().done, count.progress().share) == (6, 0.6)
    assert FrameCount(total=10, encoding_share=1.0, encoded=8).progress() == Progress(Stage.PREFILL, 8, 10)


@pytest.mark.parametrize("speed", [DESKTOP, LAPTOP, TWO_CORES, WITH_VNNI])
@pytest.mark.parametrize("keys", [0, 18_432, 150_000])
def test_steps_of_longva_7b_take_a_few_seconds(speed: ProcessorSpeed, keys: int) -> None:
    cost = StepCost.of(LongVAConfig(), torch.device("cpu"), estimate_of(LongVAConfig(), speed))
    assert 1 <= cost.max_frames <= MAX_STEP_FRAMES
    tokens = cost.num_tokens_of_pass(keys)
    assert tokens <= MAX_PASS_TOKENS
    num_layers = cost.num_layers_of_step(tokens, keys)
    seconds = (
        num_layers / 28 * tokens * (cost.per_token + keys * cost.per_key) / (PREFILL_EFFICIENCY * speed.layer_flop)
    )
    assert seconds <= SLOW_STEP_SECONDS
    assert seconds > SLOW_STEP_SECONDS / 3 or num_layers == 28
    text = cost.num_tokens(keys) * (cost.per_token + keys * cost.per_key) / (PREFILL_EFFICIENCY * speed.layer_flop)
    assert text <= SLOW_STEP_SECONDS or cost.num_tokens(keys) == MIN_SLOW_STEP_TOKENS
    assert cost.num_tokens(keys, BACKGROUND_SHARE) >= MIN_SLOW_STEP_TOKENS


def test_the_default_budget_takes_about_a_minute(engine: LocalEngine) -> None:
    assert engine.default_frames == DEFAULT_FRAMES == 32
    estimate = estimate_of(LongVAConfig(), DESKTOP)
    desktop = LocalEngine(replace(engine.loaded, estimate=estimate), engine.settings)
    assert desktop.default_frames == estimate.frames_within(DEFAULT_SECONDS) == 10
    chosen = LocalEngine(replace(engine.loaded, estimate=estimate), replace(engine.settings, num_frames=64))
    assert chosen.default_frames == 64


def test_times_are_known_before_the_first_question(slow: LocalEngine, engine: LocalEngine) -> None:
    assert engine.loaded.estimate is None
    assert slow.loaded.estimate is not None
    known = dict(slow.prefill_times.known)
    assert set(known) == {2**power for power in range(11)}
    assert known[64] == pytest.approx(slow.loaded.estimate.first_word(64), abs=0.001)
    slow.prefill_times.add(70, 1.0)
    assert (64 in dict(slow.prefill_times.known), slow.prefill_times.estimate(70)) == (False, 1.0)
