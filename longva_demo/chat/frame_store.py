"""The model's pixels of a video's frames, in a file on disk that readers follow while it grows."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video import FrameBatch

POLL_SECONDS = 0.2
Stop = Callable[[], bool]


class FrameStore:
    """Pixels of frames, uint8 (frames, S, S, 3) with S = 336 for LongVA-7B, one frame after another in one file.

    Memory therefore does not grow with the number of frames. Some systems clean temporary folders now and then:
    `repair` writes again what was deleted.
    """

    def __init__(self, folder: Path, video_name: str) -> None:
        """`video_name` appears in error messages."""
        self.file = folder / "pixels.bin"
        self.indices: list[int] = []  # of the frames stored so far, without those that could not be decoded
        self.seconds: list[float] = []
        self.complete = False
        self._video_name = video_name
        self._shape: tuple[int, ...] = ()
        self._set_up()

    def _set_up(self) -> None:
        self.changed = threading.Condition()
        self._failure: BaseException | None = None
        self._writing = threading.Lock()
        self._repairing = threading.Lock()

    @property
    def is_writing(self) -> bool:
        return self._writing.locked()

    def write(
        self, batches: Generator[FrameBatch], preprocess: Callable[[np.ndarray], np.ndarray]
    ) -> Generator[FrameBatch]:
        """Pass `batches` through and store their pixels, unless that is done or another thread is doing it.

        Raises:
            VideoError: the disk is full. This error and those of `batches` also reach the readers.
        """
        if self.complete or not self._writing.acquire(blocking=False):
            yield from batches
            return
        try:
            self.reset()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("wb") as file, closing(batches):
                for batch in batches:
                    self._append(batch, preprocess(batch.pixels), file)
                    yield batch
            self._finish(None)
        except GeneratorExit:
            self.reset()
            raise
        except OSError as error:
            failure = disk_error(error)
            self._finish(failure)
            raise failure from error
        except BaseException as error:
            self._finish(error)
            raise
        finally:
            self._writing.release()
            with self.changed:
                self.changed.notify_all()

    def read(self, position: int, count: int) -> np.ndarray | None:
        """Pixels (count, S, S, 3) from `position` on, or None if they were deleted."""
        frame_bytes = int(np.prod(self._shape))
        try:
            flat = np.fromfile(self.file, np.uint8, count * frame_bytes, offset=position * frame_bytes)
            return flat.reshape(count, *self._shape)
        except (OSError, ValueError):
            return None

    def follow(
        self, chunk: int, should_stop: Stop, prefetch: Callable[[], None], repair: Callable[[], Iterator[None]]
    ) -> Iterator[np.ndarray | None]:
        """Pixels (at most `chunk`, S, S, 3), in order; None while they are being written.

        `prefetch` makes sure that somebody writes; `repair` writes again what was deleted.
        """
        position, was_repaired = 0, False
        while not should_stop():
            with self.changed:
                if len(self.indices) - position < chunk and not self.complete:
                    prefetch()
                    self.changed.wait(POLL_SECONDS)
                self._raise_failure()
                count = min(chunk, len(self.indices) - position)
                if count == 0 and self.complete:
                    return
                is_ready = count == chunk or self.complete
                pixels = self.read(position, count) if is_ready else None
                was_deleted = is_ready and pixels is None
                needs_repair = was_deleted and self.complete
                if was_deleted and not needs_repair:  # while frames were being written: start again
                    prefetch()
                    self.changed.wait(POLL_SECONDS)
            if needs_repair:
                if was_repaired:
                    raise self.lost()
                yield from repair()
                was_repaired = True
                continue
            if pixels is not None:
                position += count
            yield pixels

    def repair(self, decode: Callable[[], Generator[np.ndarray]], should_stop: Stop) -> Generator[None, None, bool]:
        """Write all pixels again unless they are there. Yields in between; ends early when `should_stop()` turns true.

        Returns whether it wrote them. One reader repairs, others wait for it.

        Raises:
            VideoError: `decode` failed or gave fewer frames, or the disk is full.
        """
        while not self._repairing.acquire(timeout=POLL_SECONDS):
            yield None
            if should_stop():
                return False
        new = self.file.with_suffix(".new")
        try:
            if self._is_whole(self.file):
                return False  # another reader has repaired it
            batches = decode()
            new.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file, closing(batches):
                for pixels in batches:
                    write_pixels(pixels, file)
                    yield None
                    if should_stop():
                        return False
            if not self._is_whole(new):
                raise self.lost()
            new.replace(self.file)
            return True
        except OSError as error:
            raise disk_error(error) from error
        finally:
            new.unlink(missing_ok=True)
            self._repairing.release()

    def reset(self) -> None:
        """Forget the frames and a failure: the next `write` starts again."""
        with self.changed:
            self.indices.clear()
            self.seconds.clear()
            self._failure = None

    def forget_failure(self) -> None:
        self._failure = None

    def lost(self) -> VideoError:
        """The error for pixels that cannot be restored."""
        return VideoError(f"the stored frames of {self._video_name} were deleted", "load the video again")

    def __getstate__(self) -> dict[str, object]:
        """Without locks, which cannot be pickled: a copy in another process reads the same file."""
        names = ("file", "indices", "seconds", "complete", "_video_name", "_shape")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._set_up()

    def _append(self, batch: FrameBatch, pixels: np.ndarray, file: BinaryIO) -> None:
        write_pixels(pixels, file)
        file.flush()  # before readers learn of it
        with self.changed:
            self._shape = pixels.shape[1:]
            self.indices.extend(batch.indices)
            self.seconds.extend(batch.seconds)
            self.changed.notify_all()

    def _finish(self, failure: BaseException | None) -> None:
        with self.changed:
            self._failure = failure
            self.complete = failure is None

    def _raise_failure(self) -> None:
        """Raise the error of a writer on another thread, once."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _is_whole(self, file: Path) -> bool:
        return file.exists() and file.stat().st_size == len(self.indices) * int(np.prod(self._shape))


def write_pixels(pixels: np.ndarray, file: BinaryIO) -> None:
    file.write(np.ascontiguousarray(pixels).data)


def disk_error(error: OSError) -> VideoError:
    return VideoError(f"cannot store the frames on disk ({error.strerror or error})", "free some space")
