"""How likely an answer is when some frames are hidden from it: exact, in chunks of rows, in memory linear in them.

Question and answer are read again behind the kept keys, several variants side by side; each variant does not see one
window of these keys. Their own keys are cached from chunk to chunk, so that no matrix of all rows on all rows is made.
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

# Working memory of one piece of the sweep over keys.
SWEEP_BYTES = 64 << 20
# Rows of one variant in one chunk: their attention to each other is a square.
MAX_CHUNK_ROWS = 256
NAME = "longva_hiding_frames"


@dataclass(frozen=True)
class Occlusion:
    """The keys and values before a question, and for each variant those, [first, last), that it does not see."""

    cache: GrowingCache
    length: int
    windows: tuple[tuple[int, int], ...]


class OccludedPrefill:
    """Reads a question and its answer in each variant of `hiding`, a chunk of rows at a time.

    The kept cache is only read. An empty window hides nothing.
    """

    def __init__(self, model: Any, hiding: Occlusion, question: Sequence[int], answer: Sequence[int]) -> None:
        self._model = model
        self._hiding = hiding
        self._ids = [*question, *answer[:-1]]
        self._answer = list(answer)
        self._own = DynamicCache()  # of the rows so far, (variants, kv_heads, rows, head_dim) in each layer
        self._found = torch.zeros(len(hiding.windows), device=model.device)
        self.num_done = 0

    @property
    def is_done(self) -> bool:
        return self.num_done == len(self._ids)

    @property
    def log_probabilities(self) -> list[float]:
        """Of the answer, in nats, one a variant."""
        assert self.is_done
        return self._found.tolist()

    def advance(self, num_rows: int) -> None:
        """Read the next rows, at most `num_rows` of each variant."""
        first, last = self.num_done, min(len(self._ids), self.num_done + min(num_rows, MAX_CHUNK_ROWS))
        device = self._model.device
        embeds = self._model.get_input_embeddings()(torch.tensor(self._ids[first:last], device=device))
        hidden = self._forward(
            embeds.expand(len(self._hiding.windows), -1, -1),  # (variants, rows, dim)
            torch.arange(self._hiding.length + first, self._hiding.length + last, device=device)[None],
        )
        # Row i predicts token i + 1; the last row of the question predicts the answer's first token.
        start = len(self._ids) - len(self._answer)
        begin = max(first, start)
        if begin < last:
            wanted = torch.tensor(self._answer[begin - start : last - start], device=device)
            for variant, rows in enumerate(hidden[:, begin - first :]):
                logits = self._model.lm_head(rows)[:, : self._model.num_tokens].float()
                self._found[variant] += logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
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
                hiding=self._hiding,
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
    hiding: Occlusion,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of (variants, heads, rows, size) on the kept keys that each variant may see, and causally on its own.

    `key` and `value` are the variants' own so far, the rows' last. Kept keys are swept in pieces, all variants and the
    query heads of a key head as rows of one product: nothing is copied. Returns (variants, rows, heads, size), and None
    for the weights.
    """
    kept_keys, kept_values = (kept[:, : hiding.length] for kept in hiding.cache.kept(module.layer_idx))
    variants, heads, rows, size = query.shape
    kv_heads, group, earlier = key.shape[1], heads // key.shape[1], key.shape[2] - rows
    query = (query * scaling).reshape(variants, kv_heads, group * rows, size)
    own = (query @ key[:, :, earlier:].transpose(2, 3)).float().view(variants, kv_heads, group, rows, rows)
    own = own.masked_fill(torch.ones(rows, rows, dtype=torch.bool, device=own.device).triu(1), -math.inf)
    running = Softmax(own.flatten(2, 3), value[:, :, earlier:])
    step = max(1, SWEEP_BYTES // (4 * variants * heads * rows))
    for part in pieces(earlier, step):
        running.add((query @ key[:, :, part].transpose(2, 3)).float(), value[:, :, part])
    flat = query.transpose(0, 1).reshape(kv_heads, -1, size)  # (kv_heads, variants * group * rows, size)
    for part in pieces(hiding.length, step):
        scores = (flat @ kept_keys[:, part].transpose(1, 2)).float()
        scores = scores.view(kv_heads, variants, group * rows, -1).transpose(0, 1)
        for variant, (begin, end) in enumerate(hiding.windows):
            scores[variant, :, :, max(0, begin - part.start) : max(0, end - part.start)] = -math.inf
        running.add(scores, kept_values[:, part])
    return running.result().reshape(variants, heads, rows, size).transpose(1, 2).contiguous().to(query.dtype), None


def pieces(length: int, size: int) -> Iterator[slice]:
    """
    >>> list(pieces(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(first, min(length, first + size)) for first in range(0, length, size))


class Softmax:
    """Average of values under a softmax seen piece by piece: scores (variants, kv_heads, rows, keys), float32."""

    def __init__(self, scores: Tensor, values: Tensor) -> None:
        self.most = scores.amax(-1, keepdim=True)
        weights = (scores - self.most).exp()
        self.total = weights.sum(-1, keepdim=True)
        self.sum = (weights.to(values.dtype) @ values).float()  # (variants, kv_heads, rows, size)

    def add(self, scores: Tensor, values: Tensor) -> None:
        most = torch.maximum(self.most, scores.amax(-1, keepdim=True))
        shrink, weights = (self.most - most).exp(), scores.sub_(most).exp_()
        self.total = shrink * self.total + weights.sum(-1, keepdim=True)
        self.sum = shrink * self.sum + (weights.to(values.dtype) @ values).float()
        self.most = most

    def result(self) -> Tensor:
        return self.sum / self.total


AttentionInterface.register(NAME, occluded_attention)
AttentionMaskInterface.register(NAME, lambda **_: None)
