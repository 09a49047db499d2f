"""Reading a chat's source into the model's cache, or finding that it was read already."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch

from longva_demo.chat.budget import TEXT_TOKENS
from longva_demo.chat.engine import Engine
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.prefix_cache import CachedPrefix, Key
from longva_demo.chat.source import Source, VideoSource
from longva_demo.chat.steps import MAX_STEP_FRAMES
from longva_demo.chat.turn import CacheStatus, Progress, Stage
from longva_demo.errors import BudgetError, VideoError

# Frames, or grids of a picture, that are read at a time.
PREFILL_CHUNK_FRAMES = MAX_STEP_FRAMES
# They are appended to the cache in steps of at least this many tokens: attention to a long cache is slow for few
# tokens at a time. 16 frames of LongVA-7B are 2,304 tokens; of the built-in model, 128 frames are read at once.
PREFILL_CHUNK_TOKENS = 1152
# While another chat reads or uses the same.
SECONDS_BETWEEN_LOOKS = 0.1


def parts_of(slots: np.ndarray) -> Iterator[np.ndarray]:
    """A picture (1 + grids, S, S, 3), some grids at a time, each time with its base: that is not read beside grids."""
    if len(slots) == 1:
        yield slots
    for first in range(1, len(slots), PREFILL_CHUNK_FRAMES):
        yield np.concatenate([slots[:1], slots[first : first + PREFILL_CHUNK_FRAMES]])


class PrefixLease:
    """The source of one chat, and the prefix of the model's cache that holds its header and frames.

    Prefixes are shared between chats (see `prefixes.py`). Between `open` and `release` the cache is this chat's alone.
    """

    def __init__(self, engine: Engine, should_stop: threading.Event, is_shared: bool = True) -> None:
        self.source: Source | None = None
        self._engine = engine
        self._prefix_cache = engine.prefix_cache
        self._should_stop = should_stop
        self._is_shared = is_shared
        self._own = object()
        self._held: CachedPrefix | None = None
        self.seconds_decoding = 0.0  # that the last `open` waited for frames

    @property
    def is_done(self) -> bool:
        """Whether the present source was read, by this chat or another, and is still kept."""
        return self._prefix_cache.lookup(self._key, self) is not None

    @property
    def cache(self) -> GrowingCache:
        """Header, frames and some of this chat's turns."""
        assert self._held is not None, "open it first"
        return self._held.cache

    @property
    def prefix_length(self) -> int:
        """Tokens of header and frames."""
        assert self._held is not None, "open it first"
        return self._held.num_tokens

    @property
    def num_frames(self) -> int:
        return self.source.num_frames if self.source is not None else 0

    @property
    def num_bytes(self) -> int:
        """Of all that would make room for a new reading."""
        return self._prefix_cache.idle_bytes

    def acquire(self) -> Generator[Progress, None, CacheStatus]:
        """Take hold of the prefix, reading the source where that is needed; returns how it was come by.

        Ends without it where the chat is stopped. Nothing is kept unless all of it was read.
        """
        status: CacheStatus = CacheStatus.HIT
        self.seconds_decoding = 0.0
        while not self._should_stop.is_set():
            if self.is_done:
                yield from self._know_frames()
                if taken := self.try_acquire():
                    status = taken if status == CacheStatus.HIT else status
                    break
                continue
            status = CacheStatus.MISS
            note = self._prefix_cache.start_prefill(self._key)
            if note is not None:
                try:
                    yield from self._read(note)
                finally:
                    self._prefix_cache.finish_prefill(self._key)
                break
            progress = self._prefix_cache.progress(self._key)
            if progress is not None:
                yield progress
            self._should_stop.wait(SECONDS_BETWEEN_LOOKS)
        return status

    def try_acquire(self) -> CacheStatus | None:
        """Take hold of what was read; None where nothing was, or the chat is stopped.

        Where another chat is just answering about it, a copy is made if there is room, else its end awaited.
        """
        while (prefix := self._prefix_cache.lookup(self._key, self)) is not None:
            if prefix.busy.acquire(blocking=False):
                was_offloaded = prefix.is_offloaded
                if was_offloaded:
                    self._restore(prefix)
                prefix.give_to(self)
                self._hold(prefix)
                return CacheStatus.RESTORED if was_offloaded else CacheStatus.HIT
            if self._engine.meter(self.num_frames).fits:
                with suppress(BudgetError):  # less was free than the meter thought
                    room = prefix.num_tokens + TEXT_TOKENS
                    self._hold(self._busy_prefix(self._engine.copy_cache(prefix.cache, prefix.num_tokens, room)))
                    return CacheStatus.HIT
            if self._should_stop.wait(SECONDS_BETWEEN_LOOKS):
                break
        return None

    def release(self) -> None:
        """Let others use it."""
        if self._held is not None:
            self._held.busy.release()
            self._held = None

    def truncate(self, num_tokens: int) -> None:
        """Cut from the cache what comes after the first `num_tokens` tokens of the turns."""
        for prefix in self._prefix_cache.of(self):
            if prefix.key == self._key and prefix.busy.acquire(blocking=False):
                # Where another chat has it, or had it since, nothing of this one is left in it.
                if prefix.is_of(self):
                    prefix.cache.cut_to(min(prefix.cache.get_seq_length(), prefix.num_tokens + num_tokens))
                prefix.busy.release()

    def close(self) -> None:
        """Free everything that no other chat uses."""
        self._prefix_cache.forget(self)
        if isinstance(self.source, VideoSource):
            self.source.close()

    @contextmanager
    def drop_on_error(self) -> Iterator[None]:
        """After an error inside the model its cache may be torn (some layers ahead of others): drop it."""
        try:
            yield
        except BudgetError as error:
            self._drop()
            while self._prefix_cache.evict_oldest():
                pass
            largest = max(1, self.num_frames // 2)
            raise BudgetError(
                f"the memory ran out with {self.num_frames:,} frames",
                f"set the budget to {largest:,} or less",
                largest,
            ) from error
        except Exception:
            self._drop()
            raise

    def _know_frames(self) -> Iterator[Progress]:
        """Where another chat has read it, see which frames could be decoded."""
        if isinstance(self.source, VideoSource) and not self.source.complete:
            for _ in self._pixels(self.source):
                yield Progress(Stage.SAMPLING, len(self.source.indices), self.source.num_frames)

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
        """Out of the host's memory; `prefix` is busy for this chat."""
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

    def _read(self, note: Callable[[Progress], None]) -> Iterator[Progress]:
        """Fill a new cache with the header and the source."""
        with self.drop_on_error():
            cache = self._new_cache()
            self._engine.prefill_text(self._engine.template.header, cache)
            if isinstance(self.source, VideoSource):
                for progress in self._read_video(self.source, cache):
                    note(progress)
                    yield progress
            elif self.source is not None:
                for part in parts_of(self.source.slots):
                    if self._should_stop.is_set():
                        return
                    self._engine.prefill_image(part, cache)
        if not self._should_stop.is_set():
            self._hold(self._busy_prefix(cache))

    def _read_video(self, source: VideoSource, cache: GrowingCache) -> Iterator[Progress]:
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
            raise VideoError(f"no frame of {source.info.path.name} could be decoded", "try another video")
        if waiting:
            self._engine.prefill_frames(waiting, cache)

    def _features(self, source: VideoSource) -> Iterator[torch.Tensor | None]:
        """Features of the next frames, (≤ PREFILL_CHUNK_FRAMES, tokens, dim); None while they are being decoded."""
        if source.has_features:
            yield from source.features()
            return
        start = 0
        for pixels in self._pixels(source):
            if pixels is None:
                yield None
                continue
            features = self._engine.encode_frames(pixels)
            # Of LongVA-7B they take three times the room of the pixels, and save 4 to 17% of reading them again.
            if self._engine.keep_features or features.nbytes <= pixels.nbytes:
                source.keep_features(features, start)
            start += len(features)
            yield features

    def _pixels(self, source: VideoSource) -> Iterator[np.ndarray | None]:
        """As the source gives them, with the wait for them counted."""
        began = time.perf_counter()
        for pixels in source.pixels(PREFILL_CHUNK_FRAMES, self._should_stop.is_set):
            self.seconds_decoding += time.perf_counter() - began
            yield pixels
            began = time.perf_counter()

    @property
    def _key(self) -> Key:
        """Text alone has nothing to share."""
        if self.source is None or not self._is_shared:
            return (self.source.key if self.source is not None else None, self._own)
        return (self.source.key, *self._engine.identity)
