"""Prefilling a chat's source into the KV cache, or finding it in the prefix cache."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from longva_demo.chat.image_source import ImageSource
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.lease import PrefixLease
from longva_demo.chat.local_engine import LocalEngine
from longva_demo.chat.pictures import PicturesSource
from longva_demo.chat.prefix_cache import Key
from longva_demo.chat.source import Source
from longva_demo.chat.steps import MAX_STEP_FRAMES
from longva_demo.chat.turn import CacheStatus, Progress, Stage
from longva_demo.chat.video_source import VideoSource
from longva_demo.errors import BudgetError, VideoError

T = TypeVar("T")
Pixels = Iterator[np.ndarray | None]

# Frames of a video, or grids of a picture, per chunk.
PREFILL_CHUNK_FRAMES = MAX_STEP_FRAMES
# At least this many tokens are appended to the cache at a time: attention to a long cache is slow for few tokens.
# 16 frames of LongVA-7B are 2,304 tokens; of the built-in model, 128 frames are prefilled at once.
PREFILL_CHUNK_TOKENS = 1152
# In 8 bits on a processor: the vision tower's share of the time that a frame takes.
SLOW_ENCODING_SHARE = 0.2
# While another chat prefills or uses the same frames.
POLL_SECONDS = 0.1


def image_chunks(slots: np.ndarray, max_grids: int = MAX_STEP_FRAMES) -> Iterator[np.ndarray]:
    """A picture (1 + grids, S, S, 3) some grids at a time, each chunk with the base, which is dropped beside grids."""
    if len(slots) == 1:
        yield slots
    step = min(max_grids, PREFILL_CHUNK_FRAMES)
    for first in range(1, len(slots), step):
        yield np.concatenate([slots[:1], slots[first : first + step]])


def source_features(
    engine: LocalEngine,
    source: VideoSource,
    should_stop: Callable[[], bool],
    watch: Callable[[Pixels], Pixels] = lambda frames: frames,
) -> Iterator[torch.Tensor | None]:
    """Features of the next frames, (≤ PREFILL_CHUNK_FRAMES, tokens, dim); None while they are being decoded.

    They are stored with the source where that pays, and then neither decoded nor encoded again. `watch` passes the
    frames on, and can measure the time that they take.
    """
    if source.has_features:
        yield from source.feature_store.load()
        return
    start = 0
    chunk = min(PREFILL_CHUNK_FRAMES, engine.max_step_frames)
    for pixels in watch(source.pixels(chunk, should_stop)):
        if pixels is None:
            yield None
            continue
        features = engine.encode_frames(pixels)
        # LongVA-7B's take three times the space of the pixels, and save 4 to 17% of another prefill.
        if engine.keep_features or features.nbytes <= pixels.nbytes:
            source.feature_store.append(features, start)
        start += len(features)
        yield features
    if source.complete:
        source.feature_store.finish(source.num_frames)


def once_complete(events: Iterator[Progress]) -> Iterator[Progress]:
    """Drop what repeats that all frames are done."""
    last: Progress | None = None
    for event in events:
        if event != last or event.done < event.total:
            yield event
        last = event


def part_done(num_frames: float, total: int) -> Progress:
    """Progress where a frame takes seconds; `num_frames` counts parts of frames too."""
    return Progress(Stage.PREFILL, int(num_frames + 1e-6), total, share=num_frames / total)


@dataclass
class FrameCount:
    """How many frames passed the vision tower, and how many of them are in the cache.

    `encoding_share` is the vision tower's share of a frame's time; 1 where the rest is too short to be shown.
    """

    total: int
    encoding_share: float
    encoded: int = 0
    cached: int = 0

    def progress(self, share: float = 0.0) -> Progress:
        """With a share of the frames in between."""
        cached = self.cached + share * (self.encoded - self.cached)
        done = self.encoding_share * self.encoded + (1 - self.encoding_share) * cached
        return (
            part_done(done, self.total) if self.encoding_share < 1 else Progress(Stage.PREFILL, int(done), self.total)
        )


class SourcePrefix:
    """The prefix of one chat's source: header and frames, found in the prefix cache or prefilled.

    Between `acquire` and `release` its KV cache is this chat's alone.
    """

    def __init__(self, engine: LocalEngine, should_stop: threading.Event, is_shared: bool = True) -> None:
        self.source: Source | None = None
        self.lease = PrefixLease(engine)
        self._engine = engine
        self._should_stop = should_stop
        self._is_shared = is_shared
        self._own = object()
        self.status = CacheStatus.HIT
        self.seconds_decoding = 0.0

    @property
    def is_cached(self) -> bool:
        """Whether the prefix of the present source is in the prefix cache."""
        return self.lease.find(self._key) is not None

    @property
    def cache(self) -> GrowingCache:
        """Header, frames and some of this chat's turns."""
        return self.lease.held.cache

    @property
    def num_tokens(self) -> int:
        """Tokens of header and frames."""
        return self.lease.held.num_tokens

    @property
    def evictable_bytes(self) -> int:
        return self.lease.evictable_bytes

    @property
    def num_frames(self) -> int:
        return self.source.num_frames if self.source is not None else 0

    def acquire(self) -> Generator[Progress]:
        """Acquire the prefix, with a prefill if it is not cached.

        Ends without the lease if the chat is stopped. An incomplete prefill is not cached.
        """
        self.status = CacheStatus.HIT
        self.seconds_decoding = 0.0
        while not self._should_stop.is_set():
            if self.is_cached:
                yield from self._find_frames()
                if acquired := self.try_acquire():
                    self.status = acquired if self.status == CacheStatus.HIT else self.status
                    break
                continue
            self.status = CacheStatus.MISS
            report = self._engine.prefix_cache.start_prefill(self._key)
            if report is not None:
                try:
                    yield from self._prefill(report)
                finally:
                    self._engine.prefix_cache.finish_prefill(self._key)
                break
            progress = self._engine.prefix_cache.progress(self._key)
            if progress is not None:
                yield progress
            self._should_stop.wait(POLL_SECONDS)

    def try_acquire(self) -> CacheStatus | None:
        """Acquire the prefix if it is cached; None if it is not, or the chat is stopped.

        If another chat is answering with it, copy it if memory allows, or wait for the end of that answer.
        """
        while (prefix := self.lease.find(self._key)) is not None:
            if status := self.lease.acquire(prefix, self.num_frames):
                return status
            if self._engine.meter(self.num_frames).fits:
                with suppress(BudgetError):  # less was free than the meter estimated
                    self.lease.hold(self._key, self.lease.copy_of(prefix, self.num_frames))
                    return CacheStatus.HIT
            if self._should_stop.wait(POLL_SECONDS):
                break
        return None

    def release(self) -> None:
        """Let other chats use the prefix."""
        self.lease.release()

    def truncate(self, num_tokens: int) -> None:
        """Drop all but the first `num_tokens` tokens of this chat's turns from the cache."""
        self.lease.truncate(self._key, num_tokens)

    def close(self) -> None:
        """Free everything that no other chat uses."""
        self.lease.close()
        if self.source is not None:
            self.source.close()

    @contextmanager
    def drop_on_error(self) -> Iterator[None]:
        """After an error in the model, some layers may have more tokens than others: drop the prefix."""
        try:
            yield
        except BudgetError as error:
            self.lease.drop()
            while self._engine.prefix_cache.evict_oldest():
                pass
            largest = max(1, self.num_frames // 2)
            raise BudgetError(
                f"out of memory with {self.num_frames:,} frames",
                f"set the budget to {largest:,} or less",
                largest,
            ) from error
        except Exception:
            self.lease.drop()
            raise

    def _find_frames(self) -> Iterator[Progress]:
        """After a prefill by another chat, decode the source to find out which frames can be decoded."""
        source = self.source
        if source is not None and not source.complete:
            for _ in self._timed(source.ensure_decoded(self._should_stop.is_set)):
                yield Progress(Stage.SAMPLING, len(source.frame_refs), source.num_frames)

    def _prefill(self, report: Callable[[Progress], None]) -> Iterator[Progress]:
        """Prefill the header and the source into a new cache."""
        with self.drop_on_error():
            cache = self.lease.new_cache(self.num_frames)
            header: list[torch.Tensor] = []  # goes through the model with the first frames, where each pass is slow
            if self._engine.model.estimate is not None and isinstance(self.source, VideoSource):
                header = [self._engine.embed_text(self._engine.template.header)]
            else:
                self._engine.prefill_text(self._engine.template.header, cache)
            if isinstance(self.source, VideoSource):
                for progress in once_complete(self._prefill_video(self.source, cache, header)):
                    report(progress)
                    yield progress
            elif isinstance(self.source, ImageSource):
                yield from self._prefill_images([self.source], cache)
            elif isinstance(self.source, PicturesSource):
                yield from self._prefill_images(self.source.images, cache)
        if not self._should_stop.is_set():
            self.lease.hold(self._key, cache)

    def _prefill_video(
        self, source: VideoSource, cache: GrowingCache, waiting: list[torch.Tensor]
    ) -> Iterator[Progress]:
        """Append the frames to the cache, after the embeddings (1, tokens, dim) in `waiting`."""
        count = FrameCount(source.num_frames, SLOW_ENCODING_SHARE if self._engine.model.estimate is not None else 1.0)
        for features in source_features(self._engine, source, self._should_stop.is_set, self._timed):
            if self._should_stop.is_set():
                return
            if features is None:
                yield Progress(Stage.SAMPLING, len(source.indices), source.num_frames)
                continue
            waiting.append(features)
            count.encoded += len(features)
            yield count.progress()
            if sum(part.shape[0] * part.shape[1] for part in waiting) >= PREFILL_CHUNK_TOKENS:
                yield from self._append(waiting, cache, count)
        if self._should_stop.is_set():
            return
        if count.encoded == 0:
            raise VideoError(f"no frame of {source.path.name} could be decoded", "try another video")
        yield from self._append(waiting, cache, count)

    def _append(self, waiting: list[torch.Tensor], cache: GrowingCache, count: "FrameCount") -> Iterator[Progress]:
        """Append encoded frames to the cache."""
        if waiting:
            yield from map(count.progress, self._until_stopped(self._engine.prefill_frames_steps(waiting, cache)))
            waiting.clear()
            count.cached = count.encoded

    def _prefill_images(self, images: Sequence[ImageSource], cache: GrowingCache) -> Iterator[Progress]:
        cached = 0
        for chunk in (part for image in images for part in image_chunks(image.slots, self._engine.max_step_frames)):
            num_grids = max(1, len(chunk) - 1)
            if self._should_stop.is_set():
                return
            for share in self._until_stopped(self._engine.prefill_image_steps(chunk, cache)):
                if self._engine.model.estimate is not None:  # else it takes a moment
                    yield part_done(cached + share * num_grids, self.num_frames)
            cached += num_grids

    def _until_stopped(self, steps: Iterator[T]) -> Iterator[T]:
        """End after the present step if the chat is stopped. What is in the cache is then incomplete."""
        for step in steps:
            if self._should_stop.is_set():
                return
            yield step
            if self._should_stop.is_set():
                return

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
