"""Which frames an answer drew on: what its rows attended to, and how much less likely it is without them.

Attention of the rows that predict the answer's tokens is nearly free: their queries are kept while they are computed,
and then swept over the kept keys once. It points at the right frames, but is no proof. The frames that it puts first
are therefore hidden one after the other from the question and the answer (occlusion.py): the fall of the answer's
log-probability says how much it hung on them. Neither says that the answer is right.
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

# Rows that are looked at: the first of a long answer stand for it.
MAX_ROWS = 32
# Working memory of one step of the sweep.
SWEEP_BYTES = 64 << 20
# Frames that are hidden in turn, and how many at a time (others may use the model in between).
NUM_CANDIDATES, AT_ONCE = 8, 4
# A frame's neighbours often show the same: those up to this far on either side are hidden with it.
MAX_NEIGHBOURS = 3
# Hiding reads question and answer nine times; longer ones are left out, and the page says so.
MAX_ATTRIBUTED_TOKENS = 2048
# From this fall on (nats) a frame is shown as one that the answer drew on.
MIN_DROP = 1.0


def window_radius(num_frames: int) -> int:
    """How many neighbours on either side are hidden with a frame: fewer in a short clip."""
    return min(MAX_NEIGHBOURS, num_frames // 16)


@dataclass(frozen=True)
class Attribution:
    """How much an answer drew on each frame.

    attention: each frame's share of the attention to frames; they add up to 1.
    log_prob_drops: (frame, drop of the answer's log-probability in nats when the frame is hidden) for the frames that
        were tried, largest drop first; None before any was tried.
    """

    attention: tuple[float, ...]
    log_prob_drops: tuple[tuple[int, float], ...] | None = None

    @property
    def used_frames(self) -> tuple[int, ...]:
        """Places of up to three frames with a clear fall, the largest first."""
        return tuple(place for place, fall in (self.log_prob_drops or ())[:3] if fall >= MIN_DROP)

    @property
    def candidates(self) -> tuple[int, ...]:
        """The places to try: those with most attention, of neighbours that are hidden together only the first.

        >>> Attribution((0.0,) * 40 + (0.1, 0.4, 0.3) + (0.0,) * 19 + (0.2, 0.0)).candidates[:2]
        (41, 62)
        """
        apart = window_radius(len(self.attention))
        chosen: list[int] = []
        for place in sorted(range(len(self.attention)), key=lambda place: -self.attention[place]):
            if all(abs(place - other) > apart for other in chosen):
                chosen.append(place)
        return tuple(chosen[:NUM_CANDIDATES])


@dataclass(frozen=True)
class FrameLayout:
    """Where frames stand among the tokens: `count` frames of `size` tokens each, from token `start` on.

    >>> FrameLayout(start=14, size=9, count=64).token(2)
    32
    """

    start: int
    size: int
    count: int

    def token(self, place: int) -> int:
        return self.start + place * self.size

    def window(self, place: int) -> tuple[int, int]:
        """Tokens of a frame and its neighbours, fewer of them in a short clip: [first, last)."""
        apart = window_radius(self.count)
        return self.token(max(0, place - apart)), self.token(min(self.count, place + apart + 1))

    def windows(self, candidates: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """An empty window, which hides nothing, and then each candidate's."""
        return (0, 0), *(self.window(place) for place in candidates)


class QueryRecorder:
    """Keeps the last row's queries of forward passes, in every layer, at no cost beside the memory.

    They are what `q_proj` gives, before rotation, whatever attention or quantisation the model uses.
    """

    def __init__(self, model: Any) -> None:
        self.positions: list[int] = []
        self._model = model
        self._rows: list[list[Tensor]] = []

    @contextmanager
    def row(self, position: int) -> Iterator[None]:
        """Record the last row of the forward pass inside, which stands at `position`; beyond MAX_ROWS nothing."""
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
        self._rows.append([query.clone() for query in row])  # not a view of a whole prompt's queries

    def keep(self, num_rows: int) -> None:
        """Forget the rows after the first `num_rows`."""
        del self.positions[num_rows:], self._rows[num_rows:]

    def queries(self, layer: int) -> Tensor:
        """Rotated queries (heads, rows, head_dim) of one layer."""
        flat = torch.cat([row[layer] for row in self._rows])  # (rows, heads * head_dim)
        size = self._model.model.layers[layer].self_attn.head_dim
        query = flat.view(len(flat), -1, size).transpose(0, 1)[None]  # (1, heads, rows, head_dim)
        places = torch.tensor([self.positions], device=flat.device)
        cos, sin = self._model.model.rotary_emb(query, places)
        return apply_rotary_pos_emb(query, query, cos, sin)[0][0]


def attention_layers(num_layers: int) -> range:
    """The layers that are looked at, the upper half: lower ones' queries know little more than their own token.

    >>> attention_layers(28)[0]
    14
    """
    return range(num_layers - max(1, num_layers // 2), num_layers)


def attention_to_frames(recorder: QueryRecorder, cache: GrowingCache, frames: FrameLayout, layer: int) -> Tensor:
    """One layer's attention to each frame, (frames,) float64, summed over the recorded rows and all heads."""
    keys, _ = cache.kept(layer)  # (kv_heads, tokens, head_dim)
    queries = recorder.queries(layer)
    rows, size = queries.shape[1:]
    queries = queries.reshape(len(keys), -1, size) / math.sqrt(size)  # (kv_heads, group * rows, head_dim)
    on_frames = torch.cat(list(frame_scores(queries, keys, frames)), dim=-1)  # (kv_heads, group * rows, frames)
    places = torch.tensor(recorder.positions, device=keys.device).repeat(queries.shape[1] // rows)
    everything = torch.logaddexp(on_frames.logsumexp(-1), text_scores(queries, keys, frames, places))
    return (on_frames - everything[..., None]).exp().sum((0, 1)).double().cpu()


def frame_scores(queries: Tensor, keys: Tensor, frames: FrameLayout) -> Iterator[Tensor]:
    """Logarithm of the summed exponentials over each frame's keys, (kv_heads, rows, some frames), frames in order."""
    bytes_per_frame = 4 * queries.shape[0] * queries.shape[1] * frames.size
    step = max(1, SWEEP_BYTES // bytes_per_frame)
    for first in range(0, frames.count, step):
        last = min(frames.count, first + step)
        part = keys[:, frames.token(first) : frames.token(last)]
        scores = (queries @ part.transpose(1, 2)).float()
        most = scores.amax(-1, keepdim=True)
        weights = (scores - most).exp_()  # of frames far below the row's highest nothing is left, nor is it needed
        yield weights.view(*scores.shape[:2], last - first, frames.size).sum(-1).log_() + most


def text_scores(queries: Tensor, keys: Tensor, frames: FrameLayout, places: Tensor) -> Tensor:
    """The same over all keys before and after the frames, for rows at `places`: (kv_heads, rows)."""
    end = frames.token(frames.count)
    total = queries.new_full(queries.shape[:2], -math.inf, dtype=torch.float32)
    step = max(1, SWEEP_BYTES // (4 * queries.shape[0] * queries.shape[1]))
    for first, last in ((0, frames.start), (end, keys.shape[1])):
        for begin in range(first, last, step):
            part = keys[:, begin : min(last, begin + step)]
            where = torch.arange(begin, begin + part.shape[1], device=keys.device)
            scores = (queries @ part.transpose(1, 2)).float().masked_fill(where > places[:, None], -math.inf)
            total = torch.logaddexp(total, scores.logsumexp(-1))
    return total
