"""What a chat looks at: a video with its frame plan, or a picture; decoded once, kept as the model's small pixels."""

import hashlib
import logging
import shutil
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from longva_demo.errors import VideoError
from longva_demo.folders import temporary_folder
from longva_demo.model import LongVAProcessor
from longva_demo.video import DecodeLimits, FrameBatch, FramePlan, VideoInfo, decode_frames, file_sha256
from longva_demo.video.still import open_image

log = logging.getLogger(__name__)
# Decoding this many frames costs about as much as making one of them as small as the model takes it.
DENSE = 4
MENDED = "The kept frames were gone from the folder for temporary files, and were read from the video again."


class VideoSource:
    """The planned frames of one video.

    `frames()` decodes them and, on the way, keeps each frame's model pixels (S × S × 3 bytes, S = 336 for LongVA-7B)
    in a file, so that memory does not grow with the number of frames and no question decodes again. `pixels()` reads
    them back, following a decoding that is still going on in another thread, or starting one.

    Where frames lie close together (`is_dense`), most of that time goes into the model's pixels. Then a page shows
    `previews()`, which come several times as fast, and calls `fill()` for the model's pixels.

    Folders for temporary files are cleaned now and then: kept pixels that are gone are made again from the file.
    """

    def __init__(
        self,
        info: VideoInfo,
        plan: FramePlan,
        processor: LongVAProcessor,
        decoder: str = "pyav",
        limits: DecodeLimits | None = None,
    ) -> None:
        self.info = info
        self.plan = plan
        self.decoder = decoder
        self.indices: list[int] = []  # of the frames read so far: those that could not be decoded are missing
        self.seconds: list[float] = []
        self.notes: list[str] = [*info.notes, *([plan.note] if plan.note else [])]
        self.complete = False
        self._num_features = 0  # frames whose features are kept
        self._processor = processor
        self.limits = limits or DecodeLimits()
        self._folder = temporary_folder("frames")
        self._file = self._folder / "pixels.bin"
        self._filling = threading.Lock()
        self._mending = threading.Lock()
        self._can_decode = True
        self._grown = threading.Condition()
        self._failure: BaseException | None = None
        self._filler: Filler | None = None
        self._delete: Callable[[], object] = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def num_frames(self) -> int:
        """How many frames are planned, or, once all are read, how many could be."""
        return len(self.indices) if self.complete else self.plan.num_frames

    @property
    def num_bytes(self) -> int:
        """Bytes on disk of what is kept."""
        return sum(path.stat().st_size for path in self._folder.glob("*"))

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        return self.info.sha256

    @property
    def key(self) -> tuple[object, ...]:
        """Same key, same pixels: the file's SHA-256, the frame indices and the decoder."""
        return ("video", self.sha256, self.plan.indices, self.decoder)

    @property
    def is_dense(self) -> bool:
        """Whether decoding the frames once more costs less than making them as small as the model takes them."""
        first, last = self.plan.indices[0], self.plan.indices[-1]
        return self.decoder == "pyav" and last - first < DENSE * self.plan.num_frames

    def previews(self, size: tuple[int, int]) -> Generator[FrameBatch]:
        """Decode the planned frames as small pictures of (width, height); only their notes are kept.

        Raises:
            VideoError: as `frames()`.
        """
        with closing(self._decode(size)) as batches:
            for batch in batches:
                self._note(batch)
                yield batch

    def frames(self) -> Generator[FrameBatch]:
        """Decode the planned frames at full size, keeping the model's pixels; a later call decodes again.

        Raises:
            VideoError: no frame could be decoded, a limit was hit, or the disk is full.
        """
        if self.complete or not self._filling.acquire(blocking=False):
            yield from self.decode()
            return
        try:
            self._forget()
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("wb") as file, closing(self.decode()) as batches:
                for batch in batches:
                    self._keep(batch, file)
                    yield batch
            self._finish(None)
        except GeneratorExit:
            self._forget()
            raise
        except OSError as error:
            failure = disk_error(error)
            self._finish(failure)
            raise failure from error
        except BaseException as error:
            self._finish(error)
            raise
        finally:
            self._filling.release()
            with self._grown:
                self._grown.notify_all()

    def decode(self) -> Generator[FrameBatch]:
        """Decode the planned frames at full size and keep nothing."""
        yield from self._decode(None)

    def fill(self) -> bool:
        """Have the model's pixels made in the background; False where they are there, or being made already."""
        with self._grown:
            is_filling = self._filling.locked() or (self._filler is not None and self._filler.is_alive())
            if self.complete or is_filling:
                return False
            self._failure = None
            self._filler = Filler(self)
            return True

    def pause(self) -> None:
        """End what `fill()` began; a later call begins anew."""
        if self._filler is not None:
            self._filler.stop()

    def close(self) -> None:
        """Delete what is kept."""
        self.pause()
        self._delete()

    def pixels(self, chunk: int, should_stop: Callable[[], bool]) -> Iterator[np.ndarray | None]:
        """The frames' model pixels, uint8 (at most `chunk`, S, S, 3), in order; None while decoding goes on.

        Ends early, with what was given so far, when `should_stop()` turns true.
        """
        position, began, mended = 0, False, False
        try:
            while not should_stop():
                with self._grown:
                    if len(self.indices) - position < chunk and not self.complete:
                        began = self.fill() or began
                        self._grown.wait(timeout=0.2)
                    if self._failure is not None:
                        failure, self._failure = self._failure, None
                        raise failure
                    count = min(chunk, len(self.indices) - position)
                    if count == 0 and self.complete:
                        return
                    ready = count == chunk or self.complete
                    pixels = self._read(position, count) if ready else None
                    is_gone = ready and pixels is None
                    mends = is_gone and self.complete
                    if is_gone and not mends:  # while they come: from the beginning again
                        began = self.fill() or began
                        self._grown.wait(timeout=0.2)
                if mends:
                    if mended:
                        raise self._gone()
                    yield from self._mend(should_stop)
                    mended = True
                    continue
                if pixels is not None:
                    position += count
                yield pixels
        finally:
            if began:
                self.pause()

    def kept_frame(self, position: int) -> np.ndarray:
        """One of the frames read so far, as the model was given it: uint8 (S, S, 3)."""
        assert 0 <= position < len(self.indices), position
        pixels = self._read(position, 1)
        if pixels is None:
            for _ in self._mend(lambda: False):
                pass
            pixels = self._read(position, 1)
        if pixels is None:
            raise self._gone()
        return pixels[0]

    @property
    def has_features(self) -> bool:
        return (self._folder / "features.complete").exists()

    def keep_features(self, features: torch.Tensor, start: int) -> None:
        """Keep features (frames, tokens_per_frame, dim) of the frames from `start` on; the last ones complete them.

        Where the disk is full, what follows is left out: the pixels remain.
        """
        if start == 0:
            self._num_features = 0
        if start != self._num_features:
            return
        file = self._folder / f"features-{start:06}.pt"
        try:
            torch.save(features.cpu(), file)
            self._num_features += len(features)
            if self._num_features == self.num_frames and self.complete:
                (self._folder / "features.complete").touch()
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
            log.warning("features cannot be kept: %s", error)
            with suppress(OSError):
                file.unlink()

    def features(self) -> Iterator[torch.Tensor]:
        """The kept features, in the chunks in which they were kept."""
        for path in sorted(self._folder.glob("features-*.pt")):
            yield torch.load(path, weights_only=True)

    def __getstate__(self) -> dict[str, object]:
        """A copy in another process reads the same kept files; it neither decodes nor deletes them."""
        assert self.complete, "only a source that was read to its end can be handed to another process"
        kept = ("info", "plan", "decoder", "indices", "seconds", "notes", "complete", "_folder", "_file", "_shape")
        assert self.sha256  # computed here once, and kept by `info`
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _failure=None, _filling=threading.Lock(), _grown=threading.Condition())
        self.__dict__.update(_filler=None, _delete=lambda: None, _num_features=0)
        self.__dict__.update(_mending=threading.Lock(), _can_decode=False)

    def _keep(self, batch: FrameBatch, file: BinaryIO) -> None:
        small = self._processor.preprocess_frames(batch.pixels)  # (frames, S, S, 3) uint8
        file.write(np.ascontiguousarray(small).data)
        file.flush()  # readers are told below
        with self._grown:
            self._shape = small.shape[1:]
            self.indices.extend(batch.indices)
            self.seconds.extend(batch.seconds)
            self._grown.notify_all()
        self._note(batch)

    def _note(self, batch: FrameBatch) -> None:
        self.notes += [note for note in batch.notes if note not in self.notes]

    def _decode(self, size: tuple[int, int] | None) -> Generator[FrameBatch]:
        yield from decode_frames(
            self.info.path, self.plan, info=self.info, decoder=self.decoder, limits=self.limits, size=size
        )

    def _read(self, position: int, count: int) -> np.ndarray | None:
        """Kept pixels; None where they are gone."""
        frame_bytes = int(np.prod(self._shape))
        try:
            flat = np.fromfile(self._file, np.uint8, count * frame_bytes, offset=position * frame_bytes)
            return flat.reshape(count, *self._shape)
        except (OSError, ValueError):
            return None

    def _mend(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        """Keep all frames once more; yields meanwhile. They are the same ones: what is known of them stays.

        Raises:
            VideoError: the video is gone too, or cannot be decoded any more, or the disk is full.
        """
        while not self._mending.acquire(timeout=0.2):
            yield None
            if should_stop():
                return
        new = self._folder / "pixels.new"
        try:
            if self._is_whole(self._file):
                return  # another reader has done it
            if not (self._can_decode and self.info.path.exists()):
                raise self._gone()
            self._folder.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file, closing(self.decode()) as batches:
                for batch in batches:
                    file.write(np.ascontiguousarray(self._processor.preprocess_frames(batch.pixels)).data)
                    yield None
                    if should_stop():
                        return
            if not self._is_whole(new):
                raise self._gone()
            new.replace(self._file)
            self.notes += [MENDED] if MENDED not in self.notes else []
        except OSError as error:
            raise disk_error(error) from error
        finally:
            new.unlink(missing_ok=True)
            self._mending.release()

    def _is_whole(self, file: Path) -> bool:
        """Whether it holds the pixels of all frames."""
        return file.exists() and file.stat().st_size == len(self.indices) * int(np.prod(self._shape))

    def _gone(self) -> VideoError:
        return VideoError(f"the frames of {self.info.path.name} are no longer kept", "load it again")

    def _forget(self) -> None:
        with self._grown:
            self.indices.clear()
            self.seconds.clear()
            self._failure = None

    def _finish(self, failure: BaseException | None) -> None:
        with self._grown:
            self._failure = failure
            self.complete = failure is None


def disk_error(error: OSError) -> VideoError:
    return VideoError(f"the frames cannot be kept on disk ({error.strerror or error})", "free some space")


class Filler(threading.Thread):
    """Runs `source.frames()` in the background until it ends or is stopped."""

    def __init__(self, source: VideoSource) -> None:
        super().__init__(daemon=True, name="longva-decode")
        self._source = source
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        batches = self._source.frames()
        try:
            for _batch in batches:
                if self._stopped.is_set():
                    break
        except Exception:
            pass  # kept by the source, which raises it in the reader's thread
        finally:
            batches.close()

    def stop(self) -> None:
        self._stopped.set()


class ImageSource:
    """One picture, cut into grids (UniRes) for the model."""

    def __init__(self, image: Image.Image | str | Path, processor: LongVAProcessor) -> None:
        """Opens and decodes the picture.

        Raises:
            VideoError: no such file, not a picture, damaged, or with more than 100 million pixels.
        """
        self.path = None if isinstance(image, Image.Image) else Path(image)
        self.image = image if isinstance(image, Image.Image) else open_image(Path(image))
        self.size_bytes = self.path.stat().st_size if self.path else 0
        self.sha256 = file_sha256(self.path) if self.path else ""  # of the file
        self.notes: list[str] = []
        self.slots = processor.preprocess_image(self.image)  # (1 + grids, S, S, 3) uint8, the base picture first
        self.num_frames = len(self.slots) - 1  # a grid costs as much as a frame

    @property
    def key(self) -> tuple[object, ...]:
        return ("image", self.image.size, hashlib.sha256(self.image.tobytes()).hexdigest())


Source = VideoSource | ImageSource
