"""How likely an answer is with some frames hidden: exact, computed in chunks of rows, in memory linear in them.

Question and answer are prefilled again on top of the cached keys, several variants in one batch. Each variant does not
see one window of these keys. The variants' own keys are cached from chunk to chunk, so no rows × rows matrix is built.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from longva_demo.chat.kv_cache import GrowingCache

# Working memory of one chunk of keys.
CHUNK_BYTES = 64 << 20
# Rows of one variant in one chunk: their attention to each other is a square.
MAX_CHUNK_ROWS = 256
# Variants in one batch; others may use the model between batches.
MAX_BATCH = 4
NAME = "longva_occlusion"


@dataclass(frozen=True)
class Occlusion:
    """The first `length` tokens of `cache`, and for each variant the keys, [first, last), that it does not see."""

    cache: GrowingCache
    length: int
    windows: tuple[tuple[int, int], ...]


class OccludedPrefill:
    """Prefills a question and its answer in each variant of `occlusion`, a chunk of rows at a time.

    The cache is not changed. An empty window hides nothing.
    """

    def __init__(self, model: Any, occlusion: Occlusion, question: Sequence[int], answer: Sequence[int]) -> None:
        self._model = model
        self._occlusion = occlusion
        self._ids = [*question, *answer[:-1]]
        self._answer = list(answer)
        self._own = DynamicCache()  # of the rows so far, (variants, kv_heads, rows, head_dim) in each layer
        self._log_probs = torch.zeros(len(occlusion.windows), device=model.device)
        self.num_done = 0

    @property
    def is_done(self) -> bool:
        return self.num_done == len(self._ids)

    @property
    def log_probs(self) -> list[float]:
        """The answer's log-probability in each variant, in nats."""
        assert self.is_done
        return self._log_probs.tolist()

    def advance(self, num_rows: int) -> None:
        """Prefill the next rows, at most `num_rows` of each variant."""
        first, last = self.num_done, min(len(self._ids), self.num_done + min(num_rows, MAX_CHUNK_ROWS))
        device = self._model.device
        embeds = self._model.get_input_embeddings()(torch.tensor(self._ids[first:last], device=device))
        hidden = self._forward(
            embeds.expand(len(self._occlusion.windows), -1, -1),  # (variants, rows, dim)
            torch.arange(self._occlusion.length + first, self._occlusion.length + last, device=device)[None],
        )
        # Row i predicts token i + 1; the last row of the question predicts the answer's first token.
        start = len(self._ids) - len(self._answer)
        begin = max(first, start)
        if begin < last:
            targets = torch.tensor(self._answer[begin - start : last - start], device=device)
            for variant, rows in enumerate(hidden[:, begin - first :]):
                logits = self._model.lm_head(rows)[:, : self._model.num_tokens].float()
                self._log_probs[variant] += logits.log_softmax(-1).gather(1, targets[:, None]).sum()
        self.num_done = last

    def _forward(self, embeds: Tensor, positions: Tensor) -> Tensor:
        config = self._model.config
        before = config._attn_implementation
        config._attn_implementation = NAME
        try:
            output = self._model.model(
                inputs_embeds=embeds,
                position_ids=positions,
                past_key_values=self._own,
                use_cache=True,
                occlusion=self._occlusion,
            )
        finally:
            config._attn_implementation = before
        return output.last_hidden_state  # (variants, rows, dim)


def occluded_attention(
    module: Qwen2Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: None,
    *,
    occlusion: Occlusion,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of (variants, heads, rows, size) to the cached keys that each variant may see, and causally to its own.

    `key` and `value` are the variants' own so far, those of the rows last. Cached keys are processed in chunks. All
    variants and the query heads of a key head are rows of one product, so nothing is copied. Returns
    (variants, rows, heads, size), and None for the weights.
    """
    cached = occlusion.cache.layer_tensors(module.layer_idx)
    cached_keys, cached_values = (part[:, : occlusion.length] for part in cached)
    variants, heads, rows, size = query.shape
    kv_heads, group, earlier = key.shape[1], heads // key.shape[1], key.shape[2] - rows
    query = (query * scaling).reshape(variants, kv_heads, group * rows, size)
    own = (query @ key[:, :, earlier:].transpose(2, 3)).float().view(variants, kv_heads, group, rows, rows)
    own = own.masked_fill(torch.ones(rows, rows, dtype=torch.bool, device=own.device).triu(1), -math.inf)
    softmax = OnlineSoftmax(own.flatten(2, 3), value[:, :, earlier:])
    step = max(1, CHUNK_BYTES // (4 * variants * heads * rows))
    for part in slices(earlier, step):
        softmax.add((query @ key[:, :, part].transpose(2, 3)).float(), value[:, :, part])
    flat = query.transpose(0, 1).reshape(kv_heads, -1, size)  # (kv_heads, variants * group * rows, size)
    for part in slices(occlusion.length, step):
        scores = (flat @ cached_keys[:, part].transpose(1, 2)).float()
        scores = scores.view(kv_heads, variants, group * rows, -1).transpose(0, 1)
        for variant, (begin, end) in enumerate(occlusion.windows):
            scores[variant, :, :, max(0, begin - part.start) : max(0, end - part.start)] = -math.inf
        softmax.add(scores, cached_values[:, part])
    return softmax.result().reshape(variants, heads, rows, size).transpose(1, 2).contiguous().to(query.dtype), None


def slices(length: int, size: int) -> Iterator[slice]:
    """
    >>> list(slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(first, min(length, first + size)) for first in range(0, length, size))


class OnlineSoftmax:
    """Softmax-weighted average of values, chunk by chunk: scores (variants, kv_heads, rows, keys), float32."""

    def __init__(self, scores: Tensor, values: Tensor) -> None:
        self.highest = scores.amax(-1, keepdim=True)
        weights = (scores - self.highest).exp()
        self.total = weights.sum(-1, keepdim=True)
        self.sum = (weights.to(values.dtype) @ values).float()  # (variants, kv_heads, rows, size)

    def add(self, scores: Tensor, values: Tensor) -> None:
        highest = torch.maximum(self.highest, scores.amax(-1, keepdim=True))
        rescale, weights = (self.highest - highest).exp(), scores.sub_(highest).exp_()
        self.total = rescale * self.total + weights.sum(-1, keepdim=True)
        self.sum = rescale * self.sum + (weights.to(values.dtype) @ values).float()
        self.highest = highest

    def result(self) -> Tensor:
        return self.sum / self.total


AttentionInterface.register(NAME, occluded_attention)
AttentionMaskInterface.register(NAME, lambda **_: None)
