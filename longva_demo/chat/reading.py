"""What a chat's model has read of its source: a cache that begins with header and frames, kept for what follows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from longva_demo.chat.budget import TEXT_TOKENS
from longva_demo.chat.cache import GrowingCache
from longva_demo.chat.engine import Engine
from longva_demo.chat.shelf import Prefix, Shelf
from longva_demo.chat.source import Source, VideoSource
from longva_demo.chat.turn import Progress
from longva_demo.errors import BudgetError, VideoError

# Frames that are encoded in one step.
READ_CHUNK_FRAMES = 16
# They are appended to the cache in steps of at least this many tokens: attention to a long cache is slow for few
# tokens at a time. 16 frames of LongVA-7B are 2,304 tokens; of the built-in model, 128 frames are read at once.
READ_CHUNK_TOKENS = 1152


class Reading:
    """The source, and the cache whose first `prefix_length` tokens are the header and the source's frames.

    Turns follow in the same cache. It may be None at any time: `read` builds it anew. What was read of earlier
    sources is put by while there is room.
    """

    def __init__(self, engine: Engine, should_stop: threading.Event) -> None:
        self.source: Source | None = None
        self.cache: GrowingCache | None = None
        self.prefix_length = 0
        self._engine = engine
        self._should_stop = should_stop
        self._read_key: tuple[object, ...] | None = None
        self._shelf = Shelf()

    @property
    def is_done(self) -> bool:
        """Whether the cache holds the present source."""
        return self.cache is not None and self._read_key == self._key(self.source)

    @property
    def num_frames(self) -> int:
        return self.source.num_frames if self.source is not None else 0

    @property
    def num_bytes(self) -> int:
        """Of the cache and of all that was put by."""
        return self._shelf.num_bytes + (self.cache.num_bytes if self.cache is not None else 0)

    def turn_to(self, source: Source | None) -> None:
        """Put by what was read, and take up what was once read of `source`."""
        kept = self._shelf.take(self._key(source))
        if self.cache is not None and self.is_done:
            self.cache.cut_to(self.prefix_length)
            self._shelf.put(Prefix(self._key(self.source), self.cache), self._engine.meter(0).free_bytes or 0)
        self.drop()
        if kept is not None:
            self.cache, self._read_key = kept.cache, kept.key
            self.prefix_length = kept.cache.get_seq_length()
        self.source = source

    def read(self) -> Iterator[Progress]:
        """Fill a new cache with the header and the source. Dropped again unless all of it was read."""
        self.drop()
        while self._shelf and not self._engine.meter(self.num_frames).fits:
            self._shelf.drop_oldest()
        cache = self._engine.new_cache(self._engine.meter(self.num_frames).num_tokens + TEXT_TOKENS)
        with self.rescue():
            self._engine.read_text(self._engine.template.header, cache)
            if isinstance(self.source, VideoSource):
                yield from self._read_video(self.source, cache)
            elif self.source is not None:
                self._engine.read_image(self.source.slots, cache)
        if self._should_stop.is_set():
            return
        self.cache = cache
        self.prefix_length = cache.get_seq_length()
        self._read_key = self._key(self.source)

    def keep_turns(self, num_tokens: int) -> None:
        """Cut from the cache what comes after the first `num_tokens` tokens of the turns."""
        if self.cache is not None:
            self.cache.cut_to(min(self.cache.get_seq_length(), self.prefix_length + num_tokens))

    def drop(self) -> None:
        """Forget what was read of the present source."""
        self.cache = None
        self._read_key = None

    def close(self) -> None:
        """Free everything."""
        self.drop()
        self._shelf.clear()
        if isinstance(self.source, VideoSource):
            self.source.close()

    @contextmanager
    def rescue(self) -> Iterator[None]:
        """After an error inside the model its cache may be torn (some layers ahead of others): drop it."""
        try:
            yield
        except BudgetError as error:
            self.drop()
            self._shelf.clear()
            largest = max(1, self.num_frames // 2)
            raise BudgetError(
                f"the memory ran out with {self.num_frames:,} frames",
                f"set the budget to {largest:,} or less",
                largest,
            ) from error
        except Exception:
            self.drop()
            raise

    def _read_video(self, source: VideoSource, cache: GrowingCache) -> Iterator[Progress]:
        done = 0
        waiting: list[torch.Tensor] = []
        for features in self._features(source):
            if self._should_stop.is_set():
                return
            if features is None:
                yield Progress("sampling", len(source.indices), source.num_frames)
                continue
            waiting.append(features)
            if sum(part.shape[0] * part.shape[1] for part in waiting) >= READ_CHUNK_TOKENS:
                self._engine.read_features(torch.cat(waiting), cache)
                waiting.clear()
            done += len(features)
            yield Progress("reading", done, source.num_frames)
        if self._should_stop.is_set():
            return
        if done == 0:
            raise VideoError(f"no frame of {source.info.path.name} could be decoded", "try another video")
        if waiting:
            self._engine.read_features(torch.cat(waiting), cache)

    def _features(self, source: VideoSource) -> Iterator[torch.Tensor | None]:
        """Features of the next frames, (at most READ_CHUNK_FRAMES, tokens, dim); None while they are being decoded."""
        if source.has_features:
            yield from source.features()
            return
        start = 0
        for pixels in source.pixels(READ_CHUNK_FRAMES, self._should_stop.is_set):
            if pixels is None:
                yield None
                continue
            features = self._engine.encode_frames(pixels)
            if self._engine.keep_features:
                source.keep_features(features, start)
            start += len(features)
            yield features

    def _key(self, source: Source | None) -> tuple[object, ...]:
        return (source.key if source is not None else None, *self._engine.identity)
