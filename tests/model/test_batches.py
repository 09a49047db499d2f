"""Batches: several sequences with different visuals give what each gives alone."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.cache_utils import DynamicCache, StaticCache

from longva_demo.model import LongVAForConditionalGeneration
from longva_demo.model.longva import VISUAL_TOKEN
from tests.model.golden import COPY, load_model, load_processor

A = COPY / "a" / "checkpoint"
processor = load_processor(A)
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def clip(num_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, 20, 30, 3), np.uint8)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


# (text, images, videos) of each sequence.
SEQUENCES: list[tuple[str, list, list]] = [
    (CHAT.format("<video>\nWhat happens?"), [], [clip(5)]),
    (CHAT.format("Hello."), [], []),
    (CHAT.format("<image> <image>\nWhich of these two pictures is older?"), [picture(56, 112), picture(120, 50)], []),
    (CHAT.format("<video>\nAnd compare it with <image>, please."), [picture(30, 20)], [clip(2, seed=1)]),
]


def batch(numbers: list[int] | range) -> dict[str, torch.Tensor]:
    chosen = [SEQUENCES[number] for number in numbers]
    images, videos = [row[1] for row in chosen], [row[2] for row in chosen]
    has = any(images), any(videos)
    return dict(
        processor(
            text=[row[0] for row in chosen] if all(has) else [row[0].replace("<video>", "<image>") for row in chosen],
            images=images if has[0] else None,
            videos=videos if has[1] else None,
            padding_side="left",
        )
    )


@pytest.fixture(scope="module")
def model() -> LongVAForConditionalGeneration:
    return load_model(A)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["chunked_sdpa", "eager"])
def test_logits_of_a_batch_equal_those_of_each_sequence(model: Any, attention: str) -> None:
    whole = batch(range(len(SEQUENCES)))
    model.set_attn_implementation(attention)
    logits = model(**whole).logits
    for number in range(len(SEQUENCES)):
        alone = model(**batch([number])).logits[0]
        kept = logits[number][whole["attention_mask"][number].bool()]
        assert kept.shape == alone.shape
        assert float((kept - alone).abs().max()) < 1e-5
    model.set_attn_implementation("chunked_sdpa")


@torch.no_grad()
def test_features_of_the_body_equal_those_of_the_whole_model(model: Any) -> None:
    whole = batch(range(len(SEQUENCES)))
    hidden = model.model(**whole).last_hidden_state
    assert torch.equal(model.lm_head(hidden)[..., : model.num_tokens], model(**whole).logits)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}])
def test_answers_of_a_batch_equal_those_of_each_sequence(model: Any, options: dict) -> None:
    options = {"do_sample": False, "max_new_tokens": 8, **options}
    whole = batch(range(len(SEQUENCES)))
    answers = model.generate(**whole, **options)[:, whole["input_ids"].shape[1] :]
    per_sequence = len(answers) // len(SEQUENCES)
    for number in range(len(SEQUENCES)):
        inputs = batch([number])
        alone = model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
        ours = answers[number * per_sequence : (number + 1) * per_sequence, : alone.shape[1]]
        assert processor.batch_decode(ours, skip_special_tokens=True) == processor.batch_decode(
            alone, skip_special_tokens=True
        )


def test_the_loss_of_a_batch_is_the_mean_over_its_tokens(model: Any) -> None:
    whole = batch(range(len(SEQUENCES)))
    # Placeholders are left out, and so is a sequence's first token, which nothing precedes.
    labels = whole["input_ids"].masked_fill(whole["attention_mask"].cumsum(-1) <= 1, -100)
    loss, counts, losses = model(**whole, labels=labels).loss, [], []
    for number in range(len(SEQUENCES)):
        inputs = batch([number])
        losses.append(float(model(**inputs, labels=inputs["input_ids"]).loss))
        targets = inputs["input_ids"][:, 1:]
        counts.append(int((targets != processor.image_token_id).sum()))
    assert float(loss) == pytest.approx(np.average(losses, weights=counts), abs=1e-5)
    loss.backward()
    assert model.model.mm_projector[0].weight.grad is not None
    model.zero_grad()


@torch.no_grad()
def test_masked_tokens_change_nothing(model: Any) -> None:
    """On the left, on the right, and in between, where the original removes them."""
    inputs = batch([0])
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    plain = model(**inputs).logits
    pad = processor.tokenizer.pad_token_id
    for at in (0, 3, ids.shape[1]):
        padded = torch.cat([ids[:, :at], torch.full((1, 2), pad), ids[:, at:]], 1)
        padded_mask = torch.cat([mask[:, :at], torch.zeros(1, 2, dtype=mask.dtype), mask[:, at:]], 1)
        logits = model(**inputs | {"input_ids": padded, "attention_mask": padded_mask}).logits
        assert float((logits[padded_mask.bool()] - plain[0]).abs().max()) < 1e-5


@torch.no_grad()
def test_the_placeholder_of_the_original_is_accepted(model: Any) -> None:
    whole = batch(range(len(SEQUENCES)))
    ids = whole["input_ids"]
    original = whole | {"input_ids": ids.masked_fill(ids == processor.image_token_id, VISUAL_TOKEN)}
    assert torch.equal(model(**original).logits, model(**whole).logits)
    for options in ({}, {"num_beams": 2}, {"prefill_chunk_size": 5}, {"no_repeat_ngram_size": 3}):
        options = {"do_sample": False, "max_new_tokens": 6, **options}
        ours = model.generate(**original, **options)[:, ids.shape[1] :]
        assert torch.equal(ours, model.generate(**whole, **options)[:, ids.shape[1] :])


@torch.no_grad()
def test_embeddings_instead_of_ids(model: Any) -> None:
    whole = batch(range(len(SEQUENCES)))
    for ids in (whole["input_ids"], whole["input_ids"].masked_fill(whole["input_ids"] == 600, VISUAL_TOKEN)):
        embeds = model.get_input_embeddings()(ids)
        rest = {name: value for name, value in whole.items() if name != "input_ids"}
        assert torch.equal(model(inputs_embeds=embeds, **rest).logits, model(**whole).logits)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(**whole, inputs_embeds=embeds)


def answer(model: Any, **options: Any) -> list[int]:
    inputs = batch([0])
    output = model.generate(**inputs, do_sample=False, max_new_tokens=8, **options)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def test_every_way_of_generating_gives_the_same_answer(model: Any) -> None:
    expected = answer(model)
    assert answer(model, use_cache=False) == expected
    assert answer(model, past_key_values=DynamicCache(config=model.config)) == expected
    assert answer(model, past_key_values=StaticCache(config=model.config, max_cache_len=128)) == expected
    assert answer(model, cache_implementation="static") == expected
    assert answer(model, prefill_chunk_size=7) == expected
    assert answer(model, assistant_model=model) == expected
    assert answer(model, prompt_lookup_num_tokens=2) == expected
    assert len(answer(model, guidance_scale=1.5)) > 0


@torch.no_grad()
def test_the_outputs_are_those_of_transformers(model: Any) -> None:
    inputs = batch([0])
    assert model(**inputs, use_cache=False).past_key_values is None
    as_tuple = model(**inputs, return_dict=False, use_cache=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], model(**inputs).logits)
    assert len(model(**inputs, output_hidden_states=True).hidden_states) == model.config.num_hidden_layers + 1


def test_the_vocabulary_can_be_resized() -> None:
    model = LongVAForConditionalGeneration.from_pretrained(A)
    inputs = batch([0])
    before = model(**inputs).logits
    model.resize_token_embeddings(650)
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == 600, model.config.image_token_id)
    labels = torch.full_like(inputs["input_ids"], 649)
    outputs = model(**inputs, labels=labels)
    assert outputs.logits.shape[-1] == 650
    assert torch.allclose(outputs.logits[..., :600], before, atol=1e-6)
    assert outputs.loss.isfinite()


def test_a_conversation_continues_from_its_cache(model: Any) -> None:
    """The first prompt's pixels may be passed again: they are in the cache."""
    options = {"do_sample": False, "max_new_tokens": 3, "eos_token_id": None}
    inputs = batch(range(len(SEQUENCES)))
    whole = model.generate(**inputs, **options | {"max_new_tokens": 6})
    for is_passed_again in (True, False):
        first = model.generate(**inputs, **options, return_dict_in_generate=True)
        mask = torch.cat([inputs["attention_mask"], torch.ones(len(SEQUENCES), 3, dtype=torch.long)], 1)
        more = {"input_ids": first.sequences, "attention_mask": mask, "past_key_values": first.past_key_values}
        again = inputs | more if is_passed_again else more
        assert torch.equal(model.generate(**again, **options), whole)


@torch.no_grad()
@pytest.mark.parametrize("numbers", [[1], [0], [2], range(len(SEQUENCES))], ids=["words", "video", "images", "all"])
def test_a_forward_pass_is_exported_and_compiled_whole(numbers: Any) -> None:
    model: Any = LongVAForConditionalGeneration.from_pretrained(A)
    inputs: dict[str, Any] = batch(numbers) | {"use_cache": False}
    plain = model(**inputs).logits
    exported = torch.export.export(model, (), inputs, strict=False)
    assert torch.allclose(exported.module()(**inputs).logits, plain, atol=1e-5)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(**inputs).logits, plain, atol=1e-5)
