"""Appending frames to the KV cache in steps: of some tokens, or on a slow processor of some layers.

With 8-bit weights on a processor, one pass over many tokens would take minutes. Steps of few tokens would be as short
as steps of some layers, but each would convert all weights to floating point again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import cast

import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2DecoderLayer, apply_rotary_pos_emb

from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.steps import StepCost
from longva_demo.model import LongVAModel


def append_steps(
    model: LongVAModel,
    embeds: torch.Tensor,
    cache: GrowingCache,
    cost: StepCost,
    run: Callable[[Callable[[], None]], None],
) -> Iterator[float]:
    """Append embeddings (tokens, dim) to the cache; yields the share that is done between steps.

    Args:
        run: runs one step on the model's thread.
    """
    first = 0
    while first < len(embeds):
        num_keys = cache.get_seq_length()
        limit, rest = cost.num_tokens_of_pass(num_keys), len(embeds) - first
        if cost.num_layers > 1:
            limit = ceil(rest / ceil(rest / limit))  # equal passes: a small one costs as much as a large one
        part = embeds[first : first + limit]
        if cost.num_layers == 1:
            run(partial(feed, model, part, cache))
        else:
            layers = LayerwisePass(model, part, cache)
            while not layers.is_done:
                run(partial(layers.advance, cost.num_layers_of_step(len(part), num_keys)))
                if not layers.is_done:
                    yield (first + layers.share_done * len(part)) / len(embeds)
        first += len(part)
        yield first / len(embeds)


def feed(model: LongVAModel, embeds: torch.Tensor, cache: GrowingCache) -> None:
    """Append embeddings (tokens, dim) to the cache in one pass."""
    model(inputs_embeds=embeds[None], past_key_values=cache, use_cache=True)


class LayerwisePass:
    """Appends embeddings (tokens, dim) to the cache layer by layer. Until it is done, the cache is incomplete."""

    def __init__(self, model: LongVAModel, embeds: torch.Tensor, cache: GrowingCache) -> None:
        self._num_done = 0
        self._model = model
        self._layers = [cast(Qwen2DecoderLayer, layer) for layer in model.layers]
        self._cache = cache
        self._hidden = embeds[None]  # (1, tokens, dim)
        past = cache.get_seq_length()
        self._positions = torch.arange(past, past + len(embeds), device=embeds.device)[None]

    @property
    def is_done(self) -> bool:
        return self._num_done == len(self._layers)

    @property
    def share_done(self) -> float:
        return self._num_done / len(self._layers)

    def advance(self, num_layers: int) -> None:
        """Run the next layers."""
        rotary = self._model.rotary_emb(self._hidden, self._positions)
        for layer in self._layers[self._num_done : self._num_done + num_layers]:
            self._num_done += 1
            if self.is_done:
                self._cache_keys(layer, rotary)
                break
            self._hidden = layer(
                self._hidden,
                attention_mask=None,  # attention.py: a chunk without padding is causal
                position_embeddings=rotary,
                position_ids=self._positions,
                past_key_values=self._cache,
                use_cache=True,
            )

    def _cache_keys(self, layer: Qwen2DecoderLayer, rotary: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Run the last layer's keys and values only: nothing needs its output."""
        attention: Qwen2Attention = layer.self_attn
        hidden = layer.input_layernorm(self._hidden)
        shape = (*hidden.shape[:2], -1, attention.head_dim)  # (1, tokens, kv_heads, head_dim)
        keys, values = (project(hidden).view(shape).transpose(1, 2) for project in (attention.k_proj, attention.v_proj))
        keys, _ = apply_rotary_pos_emb(keys, keys, *rotary)
        self._cache.update(keys, values, attention.layer_idx)
