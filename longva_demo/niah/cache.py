"""The KV cache that all cells of a test share.

The frames before a needle are the same for all needles at that position, and a prefix of those before later positions.
So one KV cache, in the same prefix cache as those of the chats, serves them all. It is truncated after each question.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from longva_demo.chat import LocalEngine
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.lease import PrefixLease
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES, PREFILL_CHUNK_TOKENS
from longva_demo.chat.prefix_cache import Key
from longva_demo.niah.haystack import Haystack

# Features (frames, tokens_per_frame, dim) that can be sliced.
Frames = Haystack | torch.Tensor


class HaystackCache:
    """The KV cache of header, frames and needle. It may be evicted between cells, and is then prefilled again."""

    def __init__(self, engine: LocalEngine, haystack: Frames, max_frames: int) -> None:
        self.tokens_per_frame = engine.model.tokens_per_frame
        self.start = len(engine.template.header)
        self._engine = engine
        self._haystack = haystack
        self._max_frames = max_frames
        self._key: Key = ("needle test", object())
        self._lease = PrefixLease(engine)
        self._reusable = 0  # leading frames in the cache, before anything hidden
        self._step = max(PREFILL_CHUNK_FRAMES, PREFILL_CHUNK_TOKENS // self.tokens_per_frame)

    @property
    def kv_cache(self) -> GrowingCache:
        """Use it inside `lease()`."""
        return self._lease.held.cache

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep the cache in memory for one cell."""
        prefix = self._lease.find(self._key)
        if prefix is not None:
            self._lease.acquire(prefix, self._max_frames, wait=True)
        else:  # the first cell, or evicted
            cache = self._lease.new_cache(self._max_frames)
            self._engine.prefill_text(self._engine.template.header, cache)
            self._reusable = 0
            self._lease.hold(self._key, cache)
        try:
            yield
        finally:
            self._lease.release()

    def close(self) -> None:
        """Free the cache."""
        self._lease.close()

    def prefill(self, num_frames: int, hidden: Sequence[tuple[int, torch.Tensor]]) -> Iterator[tuple[int, int]]:
        """Prefill `num_frames` frames of the haystack. Yields how many are done, and of how many.

        hidden: features (frames, tokens_per_frame, dim) with the number of frames before them, in ascending order.
        """
        first = hidden[0][0] if hidden else num_frames
        done = self._reusable = min(self._reusable, first)
        self.kv_cache.truncate(self.start + self._reusable * self.tokens_per_frame)
        total = num_frames - done
        ends: list[tuple[int, torch.Tensor | None]] = [*hidden, (num_frames, None)]
        for position, features in ends:
            for part in chunks(done, position, self._step):
                self._engine.prefill_frames([self._haystack[part]], self.kv_cache)
                done = part.stop
                yield total - num_frames + done, total
            if features is not None:
                self._engine.prefill_frames([features], self.kv_cache)
                yield total - num_frames + done, total
        self._reusable = first


def chunks(first: int, last: int, step: int) -> list[slice]:
    return [slice(at, min(last, at + step)) for at in range(first, last, step)]
