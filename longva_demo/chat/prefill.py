"""Prefilling a chat's source into the KV cache, or finding it in the prefix cache."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import numpy as np
import torch

from longva_demo.chat.budget import TEXT_TOKENS
from longva_demo.chat.engine import Engine
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.prefix_cache import CachedPrefix, Key
from longva_demo.chat.source import ImageSource, Source, VideoSource
from longva_demo.chat.steps import MAX_STEP_FRAMES
from longva_demo.chat.turn import CacheStatus, Progress, Stage
from longva_demo.errors import BudgetError, VideoError

T = TypeVar("T")

# Frames of a video, or grids of a picture, per chunk.
PREFILL_CHUNK_FRAMES = MAX_STEP_FRAMES
# At least this many tokens are appended to the cache at a time: attention to a long cache is slow for few tokens.
# 16 frames of LongVA-7B are 2,304 tokens; of the built-in model, 128 frames are prefilled at once.
PREFILL_CHUNK_TOKENS = 1152
# While another chat prefills or uses the same frames.
POLL_SECONDS = 0.1


def image_chunks(slots: np.ndarray) -> Iterator[np.ndarray]:
    """A picture (1 + grids, S, S, 3) some grids at a time, each chunk with the base, which is dropped beside grids."""
    if len(slots) == 1:
        yield slots
    for first in range(1, len(slots), PREFILL_CHUNK_FRAMES):
        yield np.concatenate([slots[:1], slots[first : first + PREFILL_CHUNK_FRAMES]])


class PrefixLease:
    """One chat's lease on the cached prefix, header and frames, of its source.

    Chats share prefixes (see `prefix_cache.py`). Between `acquire` and `release` the KV cache is this chat's alone.
    """

    def __init__(self, engine: Engine, should_stop: threading.Event, is_shared: bool = True) -> None:
        self.source: Source | None = None
        self._engine = engine
        self._prefix_cache = engine.prefix_cache
        self._should_stop = should_stop
        self._is_shared = is_shared
        self._own = object()
        self._held: CachedPrefix | None = None
        self.seconds_decoding = 0.0  # that the last `acquire` waited for frames

    @property
    def is_cached(self) -> bool:
        """Whether the prefix of the present source is in the prefix cache."""
        return self._prefix_cache.lookup(self._key, self) is not None

    @property
    def cache(self) -> GrowingCache:
        """Header, frames and some of this chat's turns."""
        assert self._held is not None, "acquire the lease first"
        return self._held.cache

    @property
    def prefix_length(self) -> int:
        """Tokens of header and frames."""
        assert self._held is not None, "acquire the lease first"
        return self._held.num_tokens

    @property
    def num_frames(self) -> int:
        return self.source.num_frames if self.source is not None else 0

    @property
    def num_bytes(self) -> int:
        """Bytes that could be evicted for a prefill."""
        return self._prefix_cache.idle_bytes

    def acquire(self) -> Generator[Progress, None, CacheStatus]:
        """Acquire the prefix, with a prefill if it is not cached. Returns how it was found.

        Ends without the lease if the chat is stopped. An incomplete prefill is not cached.
        """
        status: CacheStatus = CacheStatus.HIT
        self.seconds_decoding = 0.0
        while not self._should_stop.is_set():
            if self.is_cached:
                yield from self._find_frames()
                if acquired := self.try_acquire():
                    status = acquired if status == CacheStatus.HIT else status
                    break
                continue
            status = CacheStatus.MISS
            report = self._prefix_cache.start_prefill(self._key)
            if report is not None:
                try:
                    yield from self._prefill(report)
                finally:
                    self._prefix_cache.finish_prefill(self._key)
                break
            progress = self._prefix_cache.progress(self._key)
            if progress is not None:
                yield progress
            self._should_stop.wait(POLL_SECONDS)
        return status

    def try_acquire(self) -> CacheStatus | None:
        """Acquire the prefix if it is cached; None if it is not, or the chat is stopped.

        If another chat is answering with it, copy it if memory allows, or wait for the end of that answer.
        """
        while (prefix := self._prefix_cache.lookup(self._key, self)) is not None:
            if prefix.busy.acquire(blocking=False):
                was_offloaded = prefix.is_offloaded
                if was_offloaded:
                    self._restore(prefix)
                prefix.assign(self)
                self._hold(prefix)
                return CacheStatus.RESTORED if was_offloaded else CacheStatus.HIT
            if self._engine.meter(self.num_frames).fits:
                with suppress(BudgetError):  # less was free than the meter estimated
                    capacity = prefix.num_tokens + TEXT_TOKENS
                    self._hold(self._busy_prefix(self._engine.copy_cache(prefix.cache, prefix.num_tokens, capacity)))
                    return CacheStatus.HIT
            if self._should_stop.wait(POLL_SECONDS):
                break
        return None

    def release(self) -> None:
        """Let other chats use the prefix."""
        if self._held is not None:
            self._held.busy.release()
            self._held = None

    def truncate(self, num_tokens: int) -> None:
        """Drop all but the first `num_tokens` tokens of this chat's turns from the cache."""
        for prefix in self._prefix_cache.entries_of(self):
            if prefix.key == self._key and prefix.busy.acquire(blocking=False):
                # A prefix that another chat uses, or has used since, holds nothing of this one.
                if prefix.has_turns_of(self):
                    prefix.cache.truncate(min(prefix.cache.get_seq_length(), prefix.num_tokens + num_tokens))
                prefix.busy.release()

    def close(self) -> None:
        """Free everything that no other chat uses."""
        self._prefix_cache.forget(self)
        if self.source is not None:
            self.source.close()

    @contextmanager
    def drop_on_error(self) -> Iterator[None]:
        """After an error in the model, some layers may have more tokens than others: drop the prefix."""
        try:
            yield
        except BudgetError as error:
            self._drop()
            while self._prefix_cache.evict_oldest():
                pass
            largest = max(1, self.num_frames // 2)
            raise BudgetError(
                f"out of memory with {self.num_frames:,} frames",
                f"set the budget to {largest:,} or less",
                largest,
            ) from error
        except Exception:
            self._drop()
            raise

    def _find_frames(self) -> Iterator[Progress]:
        """After a prefill by another chat, decode the source to find out which frames can be decoded."""
        source = self.source
        if source is not None and not source.complete:
            for _ in self._timed(source.ensure_decoded(self._should_stop.is_set)):
                yield Progress(Stage.SAMPLING, len(source.frame_refs), source.num_frames)

    def _drop(self) -> None:
        if self._held is not None:
            self._prefix_cache.remove(self._held)

    def _hold(self, prefix: CachedPrefix) -> None:
        self._held = prefix
        self._prefix_cache.insert(prefix, self, self._engine.meter(0).free_bytes or 0)

    def _busy_prefix(self, cache: GrowingCache) -> CachedPrefix:
        prefix = CachedPrefix(self._key, cache, self)
        prefix.busy.acquire()
        return prefix

    def _restore(self, prefix: CachedPrefix) -> None:
        """Move an offloaded prefix back to the model's device; this chat holds `prefix.busy`."""
        self._engine.evict_for(self.num_frames)
        try:
            self._engine.restore(prefix, prefix.num_tokens + TEXT_TOKENS)
        except BudgetError:
            self._prefix_cache.remove(prefix)
            prefix.busy.release()
            raise

    def _new_cache(self) -> GrowingCache:
        self._engine.evict_for(self.num_frames)
        return self._engine.new_cache(self._engine.meter(self.num_frames).num_tokens + TEXT_TOKENS)

    def _prefill(self, report: Callable[[Progress], None]) -> Iterator[Progress]:
        """Prefill the header and the source into a new cache."""
        with self.drop_on_error():
            cache = self._new_cache()
            self._engine.prefill_text(self._engine.template.header, cache)
            if isinstance(self.source, VideoSource):
                for progress in self._prefill_video(self.source, cache):
                    report(progress)
                    yield progress
            elif isinstance(self.source, ImageSource):
                for chunk in image_chunks(self.source.slots):
                    if self._should_stop.is_set():
                        return
                    self._engine.prefill_image(chunk, cache)
        if not self._should_stop.is_set():
            self._hold(self._busy_prefix(cache))

    def _prefill_video(self, source: VideoSource, cache: GrowingCache) -> Iterator[Progress]:
        done = 0
        waiting: list[torch.Tensor] = []
        for features in self._features(source):
            if self._should_stop.is_set():
                return
            if features is None:
                yield Progress(Stage.SAMPLING, len(source.indices), source.num_frames)
                continue
            waiting.append(features)
            if sum(part.shape[0] * part.shape[1] for part in waiting) >= PREFILL_CHUNK_TOKENS:
                self._engine.prefill_frames(waiting, cache)
                waiting.clear()
            done += len(features)
            yield Progress(Stage.PREFILL, done, source.num_frames)
        if self._should_stop.is_set():
            return
        if done == 0:
            raise VideoError(f"no frame of {source.path.name} could be decoded", "try another video")
        if waiting:
            self._engine.prefill_frames(waiting, cache)

    def _features(self, source: VideoSource) -> Iterator[torch.Tensor | None]:
        """Features of the next frames, (≤ PREFILL_CHUNK_FRAMES, tokens, dim); None while they are being decoded."""
        if source.has_features:
            yield from source.feature_store.load()
            return
        start = 0
        for pixels in self._timed(source.pixels(PREFILL_CHUNK_FRAMES, self._should_stop.is_set)):
            if pixels is None:
                yield None
                continue
            features = self._engine.encode_frames(pixels)
            # LongVA-7B's take three times the space of the pixels, and save 4 to 17% of another prefill.
            if self._engine.keep_features or features.nbytes <= pixels.nbytes:
                source.store_features(features, start)
            start += len(features)
            yield features

    def _timed(self, frames: Iterator[T]) -> Iterator[T]:
        """Count the time spent waiting for `frames`."""
        started = time.perf_counter()
        for item in frames:
            self.seconds_decoding += time.perf_counter() - started
            yield item
            started = time.perf_counter()

    @property
    def _key(self) -> Key:
        """Text alone has nothing to share."""
        if self.source is None or not self._is_shared:
            return (self.source.key if self.source is not None else None, self._own)
        return (self.source.key, *self._engine.identity)
