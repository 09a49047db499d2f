"""No question occupies the model for long: each step is bounded, others get their turn, and Stop works."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from longva_demo.chat import (
    ChatSession,
    ImageSource,
    LocalEngine,
    Progress,
    Sampling,
    attribution,
    model_thread,
    occlusion,
    steps,
)
from longva_demo.chat.answering import answer_in_process
from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS
from longva_demo.chat.compare import compare
from longva_demo.chat.model_thread import ModelThread
from longva_demo.chat.occlusion import OccludedPrefill
from longva_demo.chat.record import parse_record, record_chat
from longva_demo.chat.steps import BACKGROUND_SHARE, MAX_STEP_FRAMES, MAX_STEP_TOKENS, MIN_STEP_TOKENS, StepCost
from longva_demo.model import LongVAConfig
from tests.chat.conftest import GREEDY, answer, make_source
from tests.chat.test_session import counted

SHORT, SECOND = "What is first?", "And then?"
LONG = "Which of the dogs runs along the beach, and which one over the bridge? "


@pytest.fixture
def session(engine: LocalEngine, clip: Path) -> Iterator[ChatSession]:
    session = ChatSession(engine, is_shared=False)
    session.set_source(make_source(engine, clip))
    yield session
    session.close()


@pytest.fixture
def small_steps(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> StepCost:
    """Few FLOP per step, so that a small model needs many steps."""
    cost = StepCost.of(engine.loaded.model.config, torch.device("cpu"))
    cost = StepCost(cost.per_token, cost.per_key, 100.0 * (cost.per_token + 1000 * cost.per_key))
    monkeypatch.setattr(engine, "_cost", cost)
    monkeypatch.setattr(steps, "MIN_STEP_TOKENS", 8)
    return cost


@contextmanager
def watched(engine: LocalEngine, action: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Tokens of each pass through the language model, all variants counted; `action` runs before each."""
    passes: list[int] = []

    def watch(_module: object, _args: object, named: dict[str, Any]) -> None:
        passes.append(named["inputs_embeds"].shape[0] * named["inputs_embeds"].shape[1])
        action()

    handle = engine.loaded.model.model.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


# What a step costs


@pytest.mark.parametrize("keys", [0, 32_768, 224_000])
def test_a_step_of_longva_7b(keys: int) -> None:
    """On a GPU, 16 frames are one step anywhere in the context; on a CPU steps are shorter."""
    cost = StepCost.of(LongVAConfig(), torch.device("cuda"))
    assert cost.per_token == pytest.approx(13.05e9, rel=1e-3)
    assert cost.per_key == 401_408
    assert cost.num_tokens(keys) == MAX_STEP_TOKENS
    assert StepCost.of(LongVAConfig(), torch.device("cpu")).num_tokens(keys) == MIN_STEP_TOKENS


@pytest.mark.parametrize("keys", [100, 5_000, 32_768])
def test_a_step_on_a_cpu_is_bounded_by_its_flop(keys: int) -> None:
    config = LongVAConfig(
        hidden_size=128, intermediate_size=384, num_hidden_layers=8, num_attention_heads=2, num_key_value_heads=2
    )
    config.num_key_value_heads, config.head_dim = 2, 64
    cost = StepCost.of(config, torch.device("cpu"))
    for share in (1.0, BACKGROUND_SHARE):
        tokens = cost.num_tokens(keys, share)
        assert tokens in (MIN_STEP_TOKENS, MAX_STEP_TOKENS) or (
            tokens * (cost.per_token + keys * cost.per_key) <= share * steps.MAX_STEP_FLOP["cpu"]
        )


# Everything that a visitor can do


def test_every_step_of_every_request_is_bounded(
    engine: LocalEngine, clip: Path, session: ChatSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long questions and chats, retry, edit, an evicted prefix, pictures of 49 grids, blind check, budgets."""
    monkeypatch.setattr(steps, "MAX_STEP_TOKENS", 40)
    frames: list[int] = []
    tower = engine.loaded.model.model.vision_tower
    handle = tower.register_forward_pre_hook(lambda _module, args: frames.append(len(args[0])))
    side = engine.processor.image_size
    picture = ImageSource(Image.new("RGB", (7 * side, 7 * side)), engine.processor)
    with watched(engine) as passes:
        answer(session, LONG * 30)
        assert session.attribute_last_answer()
        list(session.edit(LONG * 20, Sampling(2.0, 1e-6, 3)))
        list(session.retry(Sampling(1e-6, 1.0, 5)))
        while engine.prefix_cache.evict_oldest():
            pass
        answer(session, SECOND)
        list(
            compare(engine, make_source(engine, clip), (8, 32), LONG * 10, GREEDY, answer_in_process, threading.Event())
        )
        blind = ChatSession(engine)
        answer(blind, LONG * 10)
        blind.set_source(picture)
        answer(blind, SHORT)
        blind.close()
        engine.encode_frames(picture.slots)
    handle.remove()
    assert len(picture.slots) > 2 * MAX_STEP_FRAMES
    assert max(frames) == MAX_STEP_FRAMES
    assert max(passes) == 40
    assert len(passes) > 150


@pytest.mark.parametrize("sampling", [Sampling(5e-324, 1.0, 12), Sampling(2, 5e-324, 12), Sampling(1e-30, 1, 12)])
def test_the_smallest_temperature_and_top_p_are_greedy(session: ChatSession, sampling: Sampling) -> None:
    assert answer(session, SECOND, sampling) == answer_again(session, GREEDY)


def answer_again(session: ChatSession, sampling: Sampling) -> str:
    list(session.retry(sampling))
    return session.turns[-1].answer


# Occlusion


def test_each_step_of_an_occlusion_is_bounded(session: ChatSession, small_steps: StepCost) -> None:
    answer(session, LONG * 12)
    turn, engine = session.turns[-1], session.engine
    assert turn.num_attributed_tokens > 200
    with watched(engine) as passes:
        assert session.attribute_last_answer()
    length = session.turns[-1].stats.num_tokens + turn.num_attributed_tokens
    assert max(passes) <= max(8, small_steps.num_tokens(length, BACKGROUND_SHARE) + 8)
    assert (
        max(passes) * (small_steps.per_token + length * small_steps.per_key)
        <= 2 * BACKGROUND_SHARE * small_steps.max_flop
    )
    assert turn.attribution is not None
    assert sum(passes) == (1 + len(turn.attribution.candidates)) * (turn.num_attributed_tokens - 1)


class Largest(TorchDispatchMode):
    """The size of the largest tensor that is created in the block."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


@pytest.mark.usefixtures("small_steps")
def test_memory_grows_linearly_with_the_question(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rows × rows matrix would be 16 times as large for a question 4 times as long."""
    advance = OccludedPrefill.advance
    largest: list[int] = []

    def measured(self: OccludedPrefill, num_rows: int) -> None:
        with Largest() as mode:
            advance(self, num_rows)
        largest[-1] = max(largest[-1], mode.numbers)

    monkeypatch.setattr(OccludedPrefill, "advance", measured)
    monkeypatch.setattr(attribution, "NUM_CANDIDATES", 1)
    tokens: list[int] = []
    for times in (6, 24):
        session = ChatSession(engine, is_shared=False)
        session.set_source(make_source(engine, clip))
        answer(session, LONG * times)
        largest.append(0)
        assert session.attribute_last_answer()
        tokens.append(session.turns[-1].num_attributed_tokens)
        session.close()
    assert tokens[1] > 3.5 * tokens[0] > 400
    assert largest[1] <= 1.1 * tokens[1] / tokens[0] * largest[0]
    assert largest[1] < tokens[1] ** 2


@pytest.mark.usefixtures("small_steps")
def test_another_visitor_is_answered_during_an_attribution(
    engine: LocalEngine, clip: Path, session: ChatSession
) -> None:
    """A question that arrives during a step gets the next one, and is answered long before the attribution ends."""
    answer(session, LONG * 8)
    other = ChatSession(engine, is_shared=False)
    other.set_source(make_source(engine, clip))
    answer(other, SHORT)
    done_after: list[int] = []
    order: list[str] = []
    asking = threading.Thread(target=lambda: (answer(other, SECOND), done_after.append(len(order))))

    def record() -> None:
        order.append("occlusion" if engine.loaded.model.config._attn_implementation == occlusion.NAME else "question")
        if len(order) == 3:
            asking.start()
            while not engine._thread._turn._waiting:
                asking.join(0.001)

    with watched(engine, record):
        assert session.attribute_last_answer()
    asking.join()
    other.close()
    num_occlusion = order.count("occlusion")
    assert order[:4] == ["occlusion"] * 3 + ["question"]
    assert num_occlusion > 60
    assert order[: done_after[0]].count("occlusion") < num_occlusion  # in between, not after


@pytest.mark.usefixtures("small_steps")
def test_stop_ends_an_attribution_within_one_step(session: ChatSession) -> None:
    answer(session, LONG * 12)
    before = session.turns[-1]

    def stop_at_third() -> None:
        if len(passes) == 3:
            session.stop()

    with watched(session.engine, stop_at_third) as passes:
        assert session.attribute_last_answer() is None
        assert len(passes) == 3
    assert session.turns == [before]
    assert session.attribute_last_answer()
    assert answer(session, SECOND)


def test_stop_reaches_a_chat_that_waits_for_another_attribution(session: ChatSession) -> None:
    answer(session, SHORT)
    engine = session.engine
    attributed: list[object] = []
    with engine._attributing, watched(engine) as passes:
        waiting = threading.Thread(target=lambda: attributed.append(session.attribute_last_answer()))
        waiting.start()
        while not session._busy.locked():
            waiting.join(0.001)
        while waiting.is_alive():
            session.stop()
            waiting.join(0.01)
        assert passes == []
    assert attributed == [None]
    assert session.attribute_last_answer()


def test_attribution_skips_long_questions_and_says_so(session: ChatSession) -> None:
    answer(session, LONG * 140)
    turn = session.turns[-1]
    assert turn.num_attributed_tokens > MAX_ATTRIBUTED_TOKENS
    assert turn.is_too_long_to_attribute
    with watched(session.engine) as passes:
        assert session.attribute_last_answer() is None
        assert passes == []
    answer(session, SHORT)
    assert session.attribute_last_answer()
    record = record_chat(session, 40)
    long, short = record.turns
    said = (
        f"question and answer have {turn.num_attributed_tokens:,} tokens, and the limit is {MAX_ATTRIBUTED_TOKENS:,}."
    )
    assert long.attribution == ()
    assert long.attribution_note == f"No attribution for this answer: {said}"
    assert short.attribution_note == ""
    assert parse_record(record.to_json()) == record


# Long questions


def test_stop_ends_the_prefill_of_a_long_question_within_one_step(
    engine: LocalEngine, session: ChatSession, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Stop, or by closing the stream as the page does for a visitor who left: nothing of the question stays."""
    monkeypatch.setattr(steps, "MAX_STEP_TOKENS", 40)
    first = answer(session, SHORT)
    for leave in (session.stop, None):
        with watched(engine) as passes:
            events = session.ask(LONG * 20, GREEDY)
            event = next(events)
            assert isinstance(event, Progress)
            assert (event.stage, event.done) == ("question", 40)
            assert event.total > 300
            if leave is None:
                events.close()
            else:
                leave()
                assert list(events) == []
            assert len(passes) == 1
        assert [turn.answer for turn in session.turns] == [first]
    second = answer(session, SECOND)
    fresh = ChatSession(engine, is_shared=False)
    fresh.set_source(make_source(engine, clip))
    assert [answer(fresh, SHORT), answer(fresh, SECOND)] == [first, second]
    fresh.close()


def test_stop_ends_the_prefill_of_a_large_picture_within_one_chunk(engine: LocalEngine) -> None:
    session = ChatSession(engine)
    side = engine.processor.image_size
    session.set_source(ImageSource(Image.new("RGB", (7 * side, 7 * side)), engine.processor))
    with counted(engine.loaded.model.model.vision_tower, lambda _count: session.stop()) as chunks:
        assert list(session.ask(SHORT, GREEDY)) == []
    assert len(chunks) == 1
    assert session.turns == []
    assert answer(session, SHORT)
    session.close()


# The model's thread


def test_background_work_waits_while_others_use_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_thread, "MAX_BACKGROUND_WAIT_SECONDS", float("inf"))
    model, holding, done = ModelThread(), threading.Event(), threading.Event()
    user = threading.Thread(target=lambda: model.run(lambda: (holding.set(), done.wait(60))))
    user.start()
    assert holding.wait(60)
    polls: list[None] = []

    def stop_at_fifth() -> bool:
        polls.append(None)
        return len(polls) == 5

    assert model.wait_until_idle(stop_at_fifth) is False
    monkeypatch.setattr(model_thread, "MAX_BACKGROUND_WAIT_SECONDS", 0.0)
    assert model.wait_until_idle(lambda: False)  # up to the limit
    monkeypatch.setattr(model_thread, "MAX_BACKGROUND_WAIT_SECONDS", float("inf"))
    done.set()
    user.join()
    assert model.wait_until_idle(lambda: False)
    assert model.run_in_background(lambda: 7) == 7
