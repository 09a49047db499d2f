"""Which frames an answer relies on: what it attended to, and how much less likely it is without them.

Attention of the rows that predict the answer's tokens is nearly free: their queries are recorded during generation and
compared with the cached keys once. It points at the right frames, but proves nothing. The frames with most attention
are therefore hidden one after another from the question and the answer (occlusion.py). The drop in the answer's
log-probability says how much it depends on them. Neither says that the answer is right.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from longva_demo.chat.kv_cache import GrowingCache

# Rows whose attention is recorded: the first ones represent a long answer.
MAX_ROWS = 32
# Working memory of one chunk of keys.
CHUNK_BYTES = 64 << 20
# Frames that are hidden in turn.
NUM_CANDIDATES = 8
# Neighbours often show the same: up to this many on either side are hidden with a frame.
MAX_NEIGHBOURS = 3
# Occlusion prefills question and answer nine times; longer ones are skipped, and the page says so.
MAX_ATTRIBUTED_TOKENS = 2048
# The smallest drop (nats) at which the answer counts as relying on a frame.
MIN_DROP = 1.0


def window_radius(num_frames: int) -> int:
    """How many neighbours on either side are hidden with a frame: fewer in a short clip."""
    return min(MAX_NEIGHBOURS, num_frames // 16)


@dataclass(frozen=True)
class Attribution:
    """How much an answer relies on each frame."""

    attention: tuple[float, ...]
    """each frame's share of the attention to frames; the sum is 1. Empty if the engine does not know it"""
    log_prob_drops: tuple[tuple[int, float], ...] | None = None
    """(frame, drop of the answer's log-probability in nats without it) of each candidate, largest drop first; None
    before occlusion"""

    @property
    def is_first_seen(self) -> bool:
        """Whether `log_prob_drops` has the frame with which the answer became likely, and the rise: of an engine
        elsewhere, which hides no frames."""
        return not self.attention

    @property
    def used_frames(self) -> tuple[int, ...]:
        """Up to three frames with a clear drop, the largest first."""
        return tuple(frame for frame, drop in (self.log_prob_drops or ())[:3] if drop >= MIN_DROP)

    @property
    def candidates(self) -> tuple[int, ...]:
        """The frames to hide: those with most attention, but only one of neighbours that are hidden together.

        >>> Attribution((0.0,) * 40 + (0.1, 0.4, 0.3) + (0.0,) * 19 + (0.2, 0.0)).candidates[:2]
        (41, 62)
        """
        radius = window_radius(len(self.attention))
        chosen: list[int] = []
        for frame in sorted(range(len(self.attention)), key=lambda frame: -self.attention[frame]):
            if all(abs(frame - other) > radius for other in chosen):
                chosen.append(frame)
        return tuple(chosen[:NUM_CANDIDATES])


@dataclass(frozen=True)
class FrameLayout:
    """The frames' tokens in the prompt: `count` frames of `size` tokens each, from token `start` on.

    >>> FrameLayout(start=14, size=9, count=64).token(2)
    32
    """

    start: int
    size: int
    count: int

    def token(self, frame: int) -> int:
        """The frame's first token."""
        return self.start + frame * self.size

    def window(self, frame: int) -> tuple[int, int]:
        """Tokens of a frame and the neighbours hidden with it: [first, last)."""
        radius = window_radius(self.count)
        return self.token(max(0, frame - radius)), self.token(min(self.count, frame + radius + 1))

    def windows(self, candidates: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """An empty window, which hides nothing, and then each candidate's."""
        return (0, 0), *(self.window(frame) for frame in candidates)


class QueryRecorder:
    """Records the last row's queries of forward passes in every layer, at the cost of their memory alone.

    They are the outputs of `q_proj`, before rotation, whatever attention or quantisation the model uses.
    """

    def __init__(self, model: Any) -> None:
        self.positions: list[int] = []
        self._model = model
        self._rows: list[list[Tensor]] = []

    @contextmanager
    def row(self, position: int) -> Iterator[None]:
        """Record the last row, at `position`, of the forward pass in the block; no more than MAX_ROWS in all."""
        if len(self.positions) >= MAX_ROWS:
            yield
            return
        row: list[Tensor] = []
        hooks = [
            layer.self_attn.q_proj.register_forward_hook(lambda _module, _inputs, output: row.append(output[0, -1:]))
            for layer in self._model.model.layers
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self.positions.append(position)
        self._rows.append([query.clone() for query in row])  # a view would keep the whole prompt's queries alive

    def truncate(self, num_rows: int) -> None:
        """Drop the rows after the first `num_rows`."""
        del self.positions[num_rows:], self._rows[num_rows:]

    def queries(self, layer: int) -> Tensor:
        """Rotated queries (heads, rows, head_dim) of one layer."""
        flat = torch.cat([row[layer] for row in self._rows])  # (rows, heads * head_dim)
        size = self._model.model.layers[layer].self_attn.head_dim
        query = flat.view(len(flat), -1, size).transpose(0, 1)[None]  # (1, heads, rows, head_dim)
        positions = torch.tensor([self.positions], device=flat.device)
        cos, sin = self._model.model.rotary_emb(query, positions)
        return apply_rotary_pos_emb(query, query, cos, sin)[0][0]


def attention_layers(num_layers: int) -> range:
    """The layers used for attribution, the upper half: queries of lower ones know little beyond their own token.

    >>> attention_layers(28)[0]
    14
    """
    return range(num_layers - max(1, num_layers // 2), num_layers)


def attention_to_frames(recorder: QueryRecorder, cache: GrowingCache, frames: FrameLayout, layer: int) -> Tensor:
    """One layer's attention to each frame, (frames,) float64, summed over the recorded rows and all heads."""
    keys, _ = cache.layer_tensors(layer)  # (kv_heads, tokens, head_dim)
    queries = recorder.queries(layer)
    rows, size = queries.shape[1:]
    queries = queries.reshape(len(keys), -1, size) / math.sqrt(size)  # (kv_heads, group * rows, head_dim)
    on_frames = torch.cat(list(frame_scores(queries, keys, frames)), dim=-1)  # (kv_heads, group * rows, frames)
    positions = torch.tensor(recorder.positions, device=keys.device).repeat(queries.shape[1] // rows)
    on_all = torch.logaddexp(on_frames.logsumexp(-1), text_scores(queries, keys, frames, positions))
    return (on_frames - on_all[..., None]).exp().sum((0, 1)).cpu().double()  # MPS has no float64


def frame_scores(queries: Tensor, keys: Tensor, frames: FrameLayout) -> Iterator[Tensor]:
    """Log-sum-exp of the scores of each frame's keys, (kv_heads, rows, some frames), frames in order."""
    bytes_per_frame = 4 * queries.shape[0] * queries.shape[1] * frames.size
    step = max(1, CHUNK_BYTES // bytes_per_frame)
    for first in range(0, frames.count, step):
        last = min(frames.count, first + step)
        part = keys[:, frames.token(first) : frames.token(last)]
        scores = (queries @ part.transpose(1, 2)).float()
        highest = scores.amax(-1, keepdim=True)
        weights = (scores - highest).exp_()  # frames far below the row's highest underflow to 0, which is exact enough
        yield weights.view(*scores.shape[:2], last - first, frames.size).sum(-1).log_() + highest


def text_scores(queries: Tensor, keys: Tensor, frames: FrameLayout, positions: Tensor) -> Tensor:
    """The same over all keys before and after the frames, for rows at `positions`: (kv_heads, rows)."""
    end = frames.token(frames.count)
    total = queries.new_full(queries.shape[:2], -math.inf, dtype=torch.float32)
    step = max(1, CHUNK_BYTES // (4 * queries.shape[0] * queries.shape[1]))
    for first, last in ((0, frames.start), (end, keys.shape[1])):
        for begin in range(first, last, step):
            part = keys[:, begin : min(last, begin + step)]
            key_positions = torch.arange(begin, begin + part.shape[1], device=keys.device)
            is_future = key_positions > positions[:, None]
            scores = (queries @ part.transpose(1, 2)).float().masked_fill(is_future, -math.inf)
            total = torch.logaddexp(total, scores.logsumexp(-1))
    return total
