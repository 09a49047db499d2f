"""Attention and occlusion equal the whole attention matrix, and do not change the conversation."""

import doctest
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from longva_demo.chat import ChatSession, LocalEngine, attribution, occlusion, steps
from longva_demo.chat.attribution import Attribution, FrameLayout
from longva_demo.chat.occlusion import Occlusion
from tests.chat.conftest import answer, make_source

QUESTIONS = ("What is first?", "And then?")


@pytest.fixture
def session(engine: LocalEngine, clip: Path) -> Iterator[ChatSession]:
    session = ChatSession(engine)
    session.set_source(make_source(engine, clip))
    for question in QUESTIONS:
        answer(session, question)
    yield session
    session.close()


@torch.inference_mode()
def embed_conversation(session: ChatSession) -> tuple[torch.Tensor, FrameLayout]:
    """The whole conversation (1, tokens, dim) without its last end-of-turn token, and the frames' layout."""
    engine, model = session.engine, session.engine.loaded.model
    pixels = [batch for batch in session.source.pixels(64, lambda: False) if batch is not None]
    features = torch.cat([engine.encode_frames(batch) for batch in pixels])
    header = engine.template.header
    ids = [token for turn in session.turns for token in turn.ids][:-1]
    embed = model.get_input_embeddings()
    parts = embed(torch.tensor(header)), features.flatten(0, 1), embed(torch.tensor(ids))
    return torch.cat(parts)[None], FrameLayout(len(header), features.shape[1], len(features))


@torch.inference_mode()
def full_attention(session: ChatSession, rows: int) -> torch.Tensor:
    """Attention (frames,) of the rows that predict the last answer's tokens, from the whole matrix."""
    model = session.engine.loaded.model
    embeds, frames = embed_conversation(session)
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    try:
        layers = model.model(inputs_embeds=embeds, output_attentions=True, use_cache=False).attentions
    finally:
        model.config._attn_implementation = before
    length = embeds.shape[1]
    first = length - len(session.turns[-1].answer_ids[:-1]) - 1  # the last prompt token predicts the first one
    upper = torch.cat(layers[-max(1, len(layers) // 2) :])
    weights = upper[:, :, first : first + rows, frames.token(0) : frames.token(frames.count)]
    per_frame = weights.unflatten(-1, (frames.count, frames.size)).sum(-1).sum((0, 1, 2))
    return per_frame / per_frame.sum()


@pytest.mark.parametrize("chunk_bytes", [1 << 26, 1000])
@pytest.mark.parametrize("rows", [3, 32])
def test_attention_equals_that_of_the_whole_matrix(
    session: ChatSession, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, rows: int
) -> None:
    monkeypatch.setattr(attribution, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(attribution, "MAX_ROWS", rows)
    answer(session, "Why?")
    found = session.turns[-1].attribution
    assert found is not None
    num_rows = min(rows, session.turns[-1].stats.num_new_tokens)
    torch.testing.assert_close(
        torch.tensor(found.attention), full_attention(session, num_rows).cpu(), atol=1e-6, rtol=1e-3
    )


@pytest.mark.parametrize("chunk_bytes", [1 << 26, 4000])
@pytest.mark.parametrize("chunk_rows", [256, 5, 1])
def test_occlusion_equals_a_mask_over_the_whole_conversation(
    session: ChatSession, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, chunk_rows: int
) -> None:
    """In one chunk of rows or keys or in many, the drops are those of one dense mask."""
    monkeypatch.setattr(occlusion, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(occlusion, "MAX_CHUNK_ROWS", chunk_rows)
    turn, model = session.turns[-1], session.engine.loaded.model
    embeds, frames = embed_conversation(session)
    length = embeds.shape[1]
    wanted = torch.tensor(turn.answer_ids[:-1])
    before = length - len(turn.ids) + 1
    windows = ((0, 0), frames.window(0), frames.window(17), frames.window(39), (frames.start, before))
    assert session.prefix.try_acquire()
    hidden = Occlusion(session.prefix.cache, before, windows)
    log_prob_drops = session.engine.log_prob_drops(
        hidden, range(1, 5), turn.question_ids, turn.answer_ids[:-1], lambda: False
    )
    session.prefix.release()
    assert log_prob_drops is not None
    assert [drop for _, drop in log_prob_drops] == sorted((drop for _, drop in log_prob_drops), reverse=True)
    found = dict(log_prob_drops) | {0: 0.0}
    values = []
    for window in windows:
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        mask[before:, window[0] : window[1]] = False
        with torch.inference_mode():
            logits = model(inputs_embeds=embeds, attention_mask={"full_attention": mask[None, None]}).logits[0]
        rows = logits[-len(wanted) - 1 : -1].log_softmax(-1)
        values.append(float(rows.gather(1, wanted[:, None]).sum()))
        assert found[len(values) - 1] == pytest.approx(values[0] - values[-1], abs=1e-3)
    assert len({round(value, 4) for value in values}) == len(values)  # occlusion has an effect


def test_occlusion_changes_nothing_else(session: ChatSession) -> None:
    before = session.turns[-1]
    assert before.attribution is not None
    assert before.attribution.log_prob_drops is None
    assert before.attribution.used_frames == ()
    after_occlusion = session.attribute_last_answer()
    assert after_occlusion is session.turns[-1]
    assert after_occlusion is not None
    assert after_occlusion.attribution is not None
    log_prob_drops = after_occlusion.attribution.log_prob_drops
    assert log_prob_drops is not None
    assert sorted(frame for frame, _ in log_prob_drops) == sorted(before.attribution.candidates)
    assert [drop for _, drop in log_prob_drops] == sorted((drop for _, drop in log_prob_drops), reverse=True)
    assert replace(after_occlusion, attribution=before.attribution) == before
    answer(session, "Why?")
    after = session.turns[-1]
    session.undo()
    session.turns[-1] = before
    answer(session, "Why?")
    assert session.turns[-1].answer_ids == after.answer_ids


def test_nothing_to_attribute(engine: LocalEngine, clip: Path) -> None:
    session = ChatSession(engine)
    assert session.attribute_last_answer() is None
    answer(session, "What is first?")
    assert session.turns[-1].attribution is None  # text alone
    assert session.attribute_last_answer() is None
    session.set_source(make_source(engine, clip))
    answer(session, "What is first?")
    while engine.prefix_cache.evict_oldest():
        pass
    assert session.attribute_last_answer() is None
    session.close()


def test_log_probability_is_the_mean_over_the_answer(session: ChatSession) -> None:
    turn = session.turns[-1]
    embeds, _ = embed_conversation(session)
    with torch.inference_mode():
        logits = session.engine.loaded.model(inputs_embeds=embeds).logits[0]
    wanted = torch.tensor(turn.answer_ids[: turn.stats.num_new_tokens])
    rows = logits[-len(turn.answer_ids) :].log_softmax(-1)[: len(wanted)]
    assert turn.stats.log_probability == pytest.approx(float(rows.gather(1, wanted[:, None]).mean()), abs=1e-4)


@pytest.mark.parametrize("module", [attribution, occlusion, steps], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_only_clear_drops_count() -> None:
    log_prob_drops = ((4, 6.0), (9, 1.0), (2, 0.4), (1, -0.1))
    assert Attribution((0.1,) * 10, log_prob_drops).used_frames == (4, 9)
    assert Attribution((0.1,) * 10, tuple((frame, 2.0) for frame in range(8))).used_frames == (0, 1, 2)


@pytest.mark.parametrize(
    ("count", "frame", "window"),
    [(64, 0, (10, 10 + 4 * 9)), (64, 63, (10 + 60 * 9, 10 + 64 * 9)), (8, 3, (10 + 27, 10 + 36))],
)
def test_windows_stay_within_the_frames(count: int, frame: int, window: tuple[int, int]) -> None:
    assert FrameLayout(10, 9, count).window(frame) == window
