"""Attention of later chunks is exact and needs no dense mask."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import DynamicCache, StaticCache

from longva_demo.model import LongVAForConditionalGeneration
from longva_demo.model.attention import NAME, chunked_mask
from tests.model.golden import COPY, load_model

A = COPY / "a" / "checkpoint"  # 4 query heads on 2 key heads
TOLERANCE = 1e-4


@pytest.fixture
def model() -> LongVAForConditionalGeneration:
    return load_model(A)


@pytest.fixture
def embeds() -> torch.Tensor:
    return torch.randn(1, 50, 64, generator=torch.Generator().manual_seed(0))


def run(model: LongVAForConditionalGeneration, chunks: list[torch.Tensor], **options: Any) -> torch.Tensor:
    cache = options.pop("cache", None) or DynamicCache()
    outputs = [
        model.model(inputs_embeds=chunk, past_key_values=cache, use_cache=True, **options).last_hidden_state
        for chunk in chunks
    ]
    return torch.cat(outputs, dim=1)


def eager(embeds: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Reference: eager attention over the whole sequence at once."""
    plain = LongVAForConditionalGeneration.from_pretrained(A, attn_implementation="eager")
    with torch.no_grad():
        return plain.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def test_chunked_attention_is_the_default(model: LongVAForConditionalGeneration) -> None:
    assert model.config._attn_implementation == NAME
    assert model.model.vision_tower.vision_tower.vision_model.config._attn_implementation == NAME


@pytest.mark.parametrize("sizes", [[50], [17, 33], [1, 48, 1], [20, 1, 1, 28], [10] * 5])
@torch.no_grad()
def test_chunked_output_equals_unchunked(
    model: LongVAForConditionalGeneration, embeds: torch.Tensor, sizes: list
) -> None:
    difference = run(model, list(embeds.split(sizes, dim=1))) - eager(embeds)
    assert difference.abs().max() < TOLERANCE


def test_chunked_gradients_equal_unchunked(model: LongVAForConditionalGeneration, embeds: torch.Tensor) -> None:
    """The CPU's merged attention is not differentiable, so with gradients the lower-right kernel must be used."""
    whole, parts = embeds.clone().requires_grad_(), embeds.clone().requires_grad_()
    run(model, [whole]).square().sum().backward()
    run(model, list(parts.split([17, 33], dim=1))).square().sum().backward()
    assert whole.grad is not None
    assert parts.grad is not None
    assert (whole.grad - parts.grad).abs().max() < 1e-3 * whole.grad.abs().max()


@torch.no_grad()
def test_padding_is_masked(model: LongVAForConditionalGeneration, embeds: torch.Tensor) -> None:
    mask = torch.ones(1, 50, dtype=torch.long)
    mask[:, :5] = 0  # padded on the left
    cache = DynamicCache()
    first = model.model(inputs_embeds=embeds[:, :20], attention_mask=mask[:, :20], past_key_values=cache)
    second = model.model(inputs_embeds=embeds[:, 20:], attention_mask=mask, past_key_values=cache)
    ours = torch.cat([first.last_hidden_state, second.last_hidden_state], dim=1)[:, 5:]
    assert (ours - eager(embeds, mask)[:, 5:]).abs().max() < TOLERANCE
    assert (ours - eager(embeds)[:, 5:]).abs().max() > 100 * TOLERANCE


@torch.no_grad()
def test_a_static_cache_longer_than_the_prompt_is_masked(
    model: LongVAForConditionalGeneration, embeds: torch.Tensor
) -> None:
    cache = StaticCache(config=model.config, max_cache_len=64)
    difference = run(model, list(embeds.split([20, 30], dim=1)), cache=cache) - eager(embeds)
    assert difference.abs().max() < TOLERANCE


@torch.no_grad()
def test_no_dense_mask_is_built_for_a_later_chunk(model: LongVAForConditionalGeneration) -> None:
    chunk, past = 512, 4096
    generator = torch.Generator().manual_seed(0)
    cache = DynamicCache()
    model.model(inputs_embeds=torch.randn(1, past, 64, generator=generator), past_key_values=cache)
    with LargestTensor() as largest:
        model.model(inputs_embeds=torch.randn(1, chunk, 64, generator=generator), past_key_values=cache)
    keys = 2 * (past + chunk) * 16  # the cached keys themselves: 2 heads of 16
    assert largest.elements <= keys < chunk * past


def test_the_mask_is_omitted_only_if_purely_causal() -> None:
    def mask(**changes: Any) -> torch.Tensor | None:
        usual = {"batch_size": 1, "q_length": 4, "kv_length": 10, "q_offset": 6, "kv_offset": 0, "attention_mask": None}
        return chunked_mask(**(usual | changes))

    assert mask() is None
    assert mask(attention_mask=torch.ones(1, 10, dtype=torch.bool)) is None
    for changes in (
        {"attention_mask": torch.arange(10)[None] > 0},
        {"allow_is_causal_skip": False},
        {"kv_length": 16},
    ):
        dense = mask(**changes)
        assert dense is not None
        assert dense.shape == (1, 1, 4, changes.get("kv_length", 10))


@torch.no_grad()
def test_generation_continues_a_cache(model: LongVAForConditionalGeneration) -> None:
    ids = torch.randint(0, 597, (1, 40), generator=torch.Generator().manual_seed(0))
    options = {"do_sample": False, "max_new_tokens": 8, "repetition_penalty": 1.0}
    at_once = model.generate(ids, **options)
    cache = DynamicCache()
    for chunk in model.model.embed_tokens(ids[:, :30]).split(15, dim=1):
        model.model(inputs_embeds=chunk, past_key_values=cache)
    mask = torch.ones_like(ids)
    resumed = model.generate(ids[:, 30:], attention_mask=mask, past_key_values=cache, **options)
    assert torch.equal(resumed[:, 10:], at_once[:, 40:])
    assert cache.get_seq_length() == at_once.shape[1] - 1


@torch.no_grad()
def test_logits_of_selected_positions(model: LongVAForConditionalGeneration, embeds: torch.Tensor) -> None:
    whole = model(inputs_embeds=embeds).logits
    last = model(inputs_embeds=embeds, logits_to_keep=1).logits
    chosen = model(inputs_embeds=embeds, logits_to_keep=torch.tensor([3, 7])).logits
    assert (last.shape, chosen.shape) == ((1, 1, 600), (1, 2, 600))
    assert torch.allclose(last, whole[:, -1:], atol=1e-5)
    assert torch.allclose(chosen, whole[:, [3, 7]], atol=1e-5)
