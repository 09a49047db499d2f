"""A video with its frame plan, as what a chat is about."""

import shutil
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from longva_demo.chat.feature_store import FeatureStore
from longva_demo.chat.frame_store import FrameStore
from longva_demo.chat.numbering import number_frames
from longva_demo.chat.prefetcher import Prefetcher
from longva_demo.chat.turn import FrameRef
from longva_demo.folders import temporary_folder
from longva_demo.model import LongVAProcessor
from longva_demo.video import DecodeLimits, FrameBatch, FramePlan, VideoInfo, decode_frames

# Decoding this many frames takes about as long as resizing one of them for the model.
DENSE = 4
CHUNK_FRAMES = 16
REPAIRED = "The stored frames were deleted from the temporary folder and have been decoded again."


class VideoSource:
    """The planned frames of one video.

    `frames()` decodes them and stores each frame's model pixels, so that no question decodes again. `pixels()` reads
    them back. It follows a decoding that is running on another thread, or starts one.

    If frames are close together (`is_dense`), most of the time goes into resizing them for the model. A page then
    shows `previews()`, which are several times as fast, and calls `prefetch()` for the model's pixels.
    """

    kind: Literal["video"] = "video"

    def __init__(
        self,
        info: VideoInfo,
        plan: FramePlan,
        processor: LongVAProcessor,
        decoder: str = "pyav",
        limits: DecodeLimits | None = None,
        has_numbers: bool = False,
    ) -> None:
        """`has_numbers`: draw each frame's number on the pixels that the model is given (numbering.py)."""
        self.info = info
        self.plan = plan
        self.decoder = decoder
        self.has_numbers = has_numbers
        self.limits = limits or DecodeLimits()
        self.notes: list[str] = [*info.notes, *([plan.note] if plan.note else [])]
        self.folder = temporary_folder("frames")
        self.frame_store = FrameStore(self.folder, info.path.name)
        self.feature_store = FeatureStore(self.folder)
        self._processor: LongVAProcessor | None = processor
        self._prefetcher = Prefetcher()
        self._delete: Callable[[], object] = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def path(self) -> Path:
        return self.info.path

    @property
    def size(self) -> tuple[int, int]:
        return self.info.width, self.info.height

    @property
    def duration_seconds(self) -> float:
        return self.info.duration_seconds

    @property
    def sha256(self) -> str:
        return self.info.sha256

    @property
    def size_bytes(self) -> int:
        return self.info.size_bytes

    @property
    def key(self) -> tuple[object, ...]:
        """The file's SHA-256, the frame indices, the decoder, and whether the frames are numbered."""
        return ("video", self.sha256, self.plan.indices, self.decoder, self.has_numbers)

    @property
    def indices(self) -> list[int]:
        """Of the frames decoded so far, without those that could not be decoded."""
        return self.frame_store.indices

    @property
    def seconds(self) -> list[float]:
        """Presentation times of `indices`."""
        return self.frame_store.seconds

    @property
    def frame_refs(self) -> list[FrameRef]:
        return [FrameRef(*pair) for pair in zip(self.indices, self.seconds, strict=False)]

    @property
    def num_frames(self) -> int:
        """How many frames are planned or, once all are decoded, how many could be."""
        return len(self.indices) if self.complete else self.plan.num_frames

    @property
    def complete(self) -> bool:
        return self.frame_store.complete

    @property
    def has_features(self) -> bool:
        return self.feature_store.is_complete

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*"))

    @property
    def memory_bytes(self) -> int:
        return self.info.index_bytes

    @property
    def planned_bytes(self) -> int:
        assert self._processor is not None
        return 3 * self._processor.image_processor.side**2 * self.plan.num_frames

    @property
    def is_dense(self) -> bool:
        """Whether decoding the frames a second time takes less time than resizing them for the model."""
        first, last = self.plan.indices[0], self.plan.indices[-1]
        return self.decoder == "pyav" and last - first < DENSE * self.plan.num_frames

    def previews(self, size: tuple[int, int]) -> Generator[FrameBatch]:
        """Decode the planned frames as small pictures of (width, height). Only their notes are stored.

        Raises:
            VideoError: as `frames()`.
        """
        yield from self._with_notes(self._decode(size))

    def frames(self) -> Generator[FrameBatch]:
        """Decode the planned frames at full size and store the model's pixels. A later call decodes again.

        Raises:
            VideoError: no frame could be decoded, a limit was hit, or the disk is full.
        """
        store = self.frame_store
        yield from self._with_notes(
            store.write(self.decode(), lambda pixels: self._numbered(pixels, len(store.indices)))
        )

    def decode(self) -> Generator[FrameBatch]:
        """Decode the planned frames at full size and store nothing."""
        yield from self._decode(None)

    def decode_frame(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The planned frame with this index, uint8 (height, width, 3), scaled to (width, height) with pyav.

        Raises:
            VideoError: it cannot be decoded.
        """
        seconds = self.plan.seconds[self.plan.indices.index(index)]
        plan = replace(self.plan, indices=(index,), seconds=(seconds,), note="")
        scaled = size if self.decoder == "pyav" else None
        batches = decode_frames(
            self.info.path, plan, info=self.info, decoder=self.decoder, limits=self.limits, size=scaled
        )
        return next(batch.pixels[0] for batch in batches if len(batch))

    def other_frames(self, plan: FramePlan) -> Generator[tuple[FrameBatch, np.ndarray]]:
        """Other frames of this video, with the model's pixels, uint8 (frames, S, S, 3). Nothing is stored.

        Raises:
            VideoError: as `frames()`.
        """
        batches = decode_frames(self.info.path, plan, info=self.info, decoder=self.decoder, limits=self.limits)
        for batch in batches:
            if len(batch):
                yield batch, self._preprocess(batch.pixels)

    def prefetch(self) -> bool:
        with self.frame_store.changed:
            if self.complete or self.frame_store.is_writing or self._prefetcher.is_running:
                return False
            self.frame_store.forget_failure()
            self._prefetcher.start(self.frames())
            return True

    def pause(self) -> None:
        self._prefetcher.stop()

    def close(self) -> None:
        self.pause()
        self._delete()

    def ensure_decoded(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        """Also decodes again what was deleted from the disk."""
        for _ in self.pixels(CHUNK_FRAMES, should_stop):
            yield None

    def pixels(self, chunk: int, should_stop: Callable[[], bool]) -> Iterator[np.ndarray | None]:
        """The frames' model pixels, uint8 (at most `chunk`, S, S, 3), in order; None while they are being decoded.

        Ends early when `should_stop()` turns true.
        """
        has_started = False

        def prefetch() -> None:
            nonlocal has_started
            has_started = self.prefetch() or has_started

        try:
            yield from self.frame_store.follow(chunk, should_stop, prefetch, lambda: self._repair(should_stop))
        finally:
            if has_started:
                self.pause()

    def stored_frame(self, position: int) -> np.ndarray:
        """One of the frames decoded so far, as the model was given it: uint8 (S, S, 3)."""
        return self.stored_frames(position, 1)[0]

    def stored_frames(self, first: int, count: int) -> np.ndarray:
        """Some of the frames decoded so far, as the model was given them: uint8 (count, S, S, 3)."""
        assert 0 <= first <= first + count <= len(self.indices), (first, count)
        pixels = self.frame_store.read(first, count)
        if pixels is None:
            for _ in self._repair(lambda: False):
                pass
            pixels = self.frame_store.read(first, count)
        if pixels is None:
            raise self.frame_store.lost()
        return pixels

    def __getstate__(self) -> dict[str, object]:
        """A copy in another process reads the same stored files; it neither decodes nor deletes them."""
        assert self.complete, "decode all frames before handing the source to another process"
        assert self.sha256  # computed here once, and cached in `info`
        names = ("info", "plan", "decoder", "has_numbers", "notes", "folder", "frame_store", "feature_store")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _processor=None, _prefetcher=Prefetcher(), _delete=lambda: None)

    def _decode(self, size: tuple[int, int] | None) -> Generator[FrameBatch]:
        yield from decode_frames(
            self.info.path, self.plan, info=self.info, decoder=self.decoder, limits=self.limits, size=size
        )

    def _preprocess(self, pixels: np.ndarray) -> np.ndarray:
        assert self._processor is not None, "a copy in another process does not decode"
        return self._processor.preprocess_frames(pixels)

    def _numbered(self, pixels: np.ndarray, num_before: int) -> np.ndarray:
        """The model's pixels of the frames after the first `num_before`, with their numbers if they have any."""
        small = self._preprocess(pixels)
        return number_frames(small, num_before + 1) if self.has_numbers else small

    def _with_notes(self, batches: Generator[FrameBatch]) -> Generator[FrameBatch]:
        """Pass `batches` through and add their notes to those of the source."""
        with closing(batches):
            for batch in batches:
                self.notes += [note for note in batch.notes if note not in self.notes]
                yield batch

    def _repair(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        """Store all frames again. They are the same ones, so indices and times do not change.

        Raises:
            VideoError: the video was deleted too or cannot be decoded any more, or the disk is full.
        """
        was_repaired = yield from self.frame_store.repair(self._decode_pixels, should_stop)
        if was_repaired and REPAIRED not in self.notes:
            self.notes.append(REPAIRED)

    def _decode_pixels(self) -> Generator[np.ndarray]:
        """Model pixels (frames, S, S, 3), decoded from the file."""
        if self._processor is None or not self.info.path.exists():
            raise self.frame_store.lost()
        return self._preprocessed(self.decode())

    def _preprocessed(self, batches: Generator[FrameBatch]) -> Generator[np.ndarray]:
        num_before = 0
        with closing(batches):
            for batch in batches:
                yield self._numbered(batch.pixels, num_before)
                num_before += len(batch)
