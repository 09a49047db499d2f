"""Parity with the original code in float32: pixels, features, embeddings, logits, greedy tokens.

One difference is intended. The original truncates a prompt at the config's `tokenizer_model_max_length`, which loses
the question; here nothing is truncated. For the case where it did (`extra_video_truncated`), embeddings and logits are
compared up to that point, and the greedy tokens continue from there.
"""

import hashlib

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from longva_demo.model import LongVAForConditionalGeneration
from longva_demo.model.longva import VISUAL_TOKEN
from tests.model.golden import Case, cases, load_model, load_processor

PIXELS, FEATURES, LOGITS, LOGSUMEXP = 1e-6, 5e-5, 1e-4, 5e-5  # largest absolute differences
CLEAR_MARGIN = 1e-3  # between the best and the second logit


@pytest.fixture(params=cases(), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def model(case: Case, monkeypatch: pytest.MonkeyPatch) -> LongVAForConditionalGeneration:
    model = load_model(case.checkpoint)
    for name, value in case.record.get("config_override", {}).items():
        monkeypatch.setattr(model.config, name, value)
    return model


def embeddings(model: LongVAForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The language model's input embeddings (1, T, dim). As in the original, masked tokens are not among them."""
    is_kept = inputs["attention_mask"][0].bool()
    names = ("input_ids", "pixel_values", "visual_slots")
    return model.model.embed_prompt(**{name: inputs[name] for name in names if name in inputs})[:, is_kept]


def largest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def test_token_ids(case: Case) -> None:
    ids, expected = case.inputs["input_ids"][0].tolist(), list(case.record["input_ids"])
    spans = case.record.get("visual_spans", [])
    for start, end in reversed(spans):  # collapse each visual to one placeholder
        # Spans do not count a typed <|endoftext|>, which the original drops.
        assert set(ids[start:end]) == {load_processor(case.checkpoint).image_token_id}
        ids[start:end] = [VISUAL_TOKEN]
    assert ids == expected


def test_pixels(case: Case) -> None:
    stacks = case.record.get("stacks", [])
    if not stacks:
        assert "pixel_values" not in case.inputs
        return
    processor = load_processor(case.checkpoint)
    levels = processor.normalised_levels
    values, theirs = case.inputs["pixel_values"], case.tensors
    start = 0
    for stack in stacks:
        ours = values[start : start + stack["n_slots"]].numpy()
        start += stack["n_slots"]
        # Each normalised value comes from exactly one grey level: invert the mapping per colour channel.
        grey = np.stack([np.searchsorted(levels[colour], ours[:, colour]) for colour in range(3)], axis=1)
        assert hashlib.sha256(grey.astype(np.uint8).tobytes()).hexdigest() == stack["u8_sha256"]
        for place, slot in enumerate(stack["u8_slots"]):
            assert np.array_equal(grey[slot], theirs["pixel_u8"][place].numpy())
    assert start == len(values)
    if "pixel_values" in theirs:
        assert largest(values, theirs["pixel_values"]) <= PIXELS
    if "pixel_mean" in theirs:
        assert largest(values.mean((2, 3)), theirs["pixel_mean"]) <= PIXELS
        assert largest(values.std((2, 3), correction=0), theirs["pixel_std"]) <= PIXELS


@torch.no_grad()
def test_features_and_embeddings(case: Case, model: LongVAForConditionalGeneration) -> None:
    if "vision_features" in case.tensors:
        slots = case.record["stacks"][0]["feature_slots"]
        features = model.model.vision_tower(case.inputs["pixel_values"][slots])
        assert largest(features, case.tensors["vision_features"]) <= FEATURES
    embeds = embeddings(model, case.inputs)
    assert embeds.shape[1] == case.full_length or not case.record.get("stacks")
    embeds = embeds[:, : case.record["sequence_length"]]
    for name, expected in case.tensors.items():
        if name.startswith("inputs_embeds"):
            stride = int(name.removeprefix("inputs_embeds").removeprefix("_stride") or 1)
            assert largest(embeds[0, ::stride], expected) <= FEATURES


@torch.no_grad()
def test_logits(case: Case, model: LongVAForConditionalGeneration) -> None:
    theirs, logits = case.tensors, model(**case.inputs).logits[case.inputs["attention_mask"].bool()]
    assert logits.shape == (case.full_length, len(load_processor(case.checkpoint).tokenizer))
    logits = logits[: case.record["sequence_length"]]
    if "logits" in theirs:
        assert largest(logits, theirs["logits"]) <= LOGITS
    else:
        assert largest(logits[-1:], theirs["logits_last"]) <= LOGITS
        assert largest(logits[:, ::40], theirs["logits_cols40"]) <= LOGITS
    assert largest(logits.logsumexp(-1), theirs["logits_logsumexp"]) <= LOGSUMEXP
    clear = theirs["logits_margin"] > CLEAR_MARGIN
    assert torch.equal(logits.argmax(-1)[clear], theirs["logits_argmax"].long()[clear])


def test_greedy_tokens(case: Case, model: LongVAForConditionalGeneration, monkeypatch: pytest.MonkeyPatch) -> None:
    start, inputs = case.inputs["input_ids"].shape[1], case.inputs
    if case.is_truncated:  # embeddings have no ids, so the output has only the new tokens
        embeds = embeddings(model, inputs)[:, : case.record["sequence_length"]]
        start, inputs = 0, {"inputs_embeds": embeds, "attention_mask": torch.ones(embeds.shape[:2], dtype=torch.long)}
    shipped = model.generate(**inputs, do_sample=False, max_new_tokens=24)[0]
    assert torch.equal(shipped[:start], case.inputs["input_ids"][0, :start])
    assert shipped[start:].tolist() == case.record["greedy_ids_generation_config"]
    # Pure argmax, without end of text and repetition penalty, which the model's own generation_config would set.
    monkeypatch.setattr(model, "generation_config", GenerationConfig(pad_token_id=0))
    plain = model.generate(**inputs, do_sample=False, max_new_tokens=24)[0, start:]
    assert plain.tolist() == case.record["greedy_ids"]
