"""Probe a video file: size, length, and the presentation time of every frame."""

import hashlib
import os
import stat
import threading
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._worker.process import WorkerProcess
from longva_demo.video._worker.wire import unpack_arrays
from longva_demo.video.limits import MIB, DecodeLimits

CHOOSE_VIDEO = "choose a video file, such as an MP4"
DECODERS = ("pyav", "decord")
# Each file that is in use, so that all pages that show it share one packet index.
probed: "WeakValueDictionary[tuple[object, ...], VideoInfo]" = WeakValueDictionary()
probed_lock = threading.Lock()
# A file whose modification time changed is compared by this many blocks of this size.
SAMPLES, SAMPLE_BYTES = 64, 64 * 1024


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video. Width and height are in pixels as displayed, after rotation.

    frame_seconds: (num_frames,) presentation time of each frame in display order, on the timeline of a browser's
        player (`longva_demo.video._ffmpeg.indexing.time_zero`); the first need not be 0.
    duration_seconds: the end of the last frame on that timeline.
    rotation, is_mirrored: for display, the stored frames are first mirrored (left to right) if `is_mirrored`, then
        rotated clockwise by 0, 90, 180 or 270 degrees.
    stored_size: (width, height) of the decoded frames that fill the displayed size.
    notes: what was lost or estimated, one sentence each.
    pixel_format: FFmpeg's name of the decoder's output format, such as yuv420p10le.
    zero_seconds: the file's timestamp at 0 s of that timeline, for its other tracks.
    index: the packet index, for the decoder.
    """

    path: Path
    num_frames: int
    fps: float
    duration_seconds: float
    width: int
    height: int
    codec: str
    rotation: int
    container: str
    size_bytes: int
    frame_seconds: np.ndarray = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()
    pixel_format: str = ""
    is_mirrored: bool = False
    stored_size: tuple[int, int] = (0, 0)
    zero_seconds: float = 0.0
    index: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.frame_seconds.shape == (self.num_frames,), self.frame_seconds.shape
        assert self.num_frames > 0
        assert self.width > 0
        assert self.height > 0

    def scale_to(self, width: int, height: int) -> tuple[float, float]:
        """Scale factors (x, y) from stored frames to displayed frames of `width` × `height`.

        Example: 720 × 576 with 16:11 pixels, rotated by 90 degrees, to its displayed size 576 × 1047: 1.454 and 1.
        """
        across, down = (height, width) if self.rotation % 180 else (width, height)
        return across / self.stored_size[0], down / self.stored_size[1]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal. The first access takes about one second per gigabyte."""
        return file_sha256(self.path)

    @property
    def index_bytes(self) -> int:
        """What the packet index and the frame times take in memory: 16 to 36 bytes per frame."""
        return self.frame_seconds.nbytes + sum(array.nbytes for array in self.index.get("arrays", {}).values())

    def to_dict(self) -> dict[str, Any]:
        """All JSON-serialisable fields; the arrays are left out."""
        internal = ("path", "frame_seconds", "notes", "index", "zero_seconds")
        names = [item.name for item in fields(self) if item.name not in internal]
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}, "notes": list(self.notes)}


def probe(path: str | os.PathLike[str], limits: DecodeLimits | None = None, *, decoder: str = "pyav") -> VideoInfo:
    """Read a video's properties and the time of every frame, in a worker process.

    `decoder="decord"` counts and times frames as decord does, to reproduce the reference's choice of frames. While an
    earlier result for the same unchanged file is in use, it is returned again.

    Raises:
        VideoError: the file is not a readable video, or exceeds a limit.
    """
    limits = limits or DecodeLimits()
    check_decoder(decoder)
    file = Path(path)
    size_bytes, changed = check_file(file, limits)
    key = (file, size_bytes, changed, decoder, limits)
    with probed_lock:
        info = probed.get(key)
    if info is None:
        info = _probe(file, size_bytes, changed, decoder, limits)
        with probed_lock:
            info = probed.setdefault(key, info)  # another thread may have been faster
    return info


def _probe(file: Path, size_bytes: int, changed: int, decoder: str, limits: DecodeLimits) -> VideoInfo:
    sample = sample_digest(file, size_bytes)
    request = {"task": "probe", "path": str(file.resolve()), "decoder": decoder, "limits": limits.to_dict()}
    with WorkerProcess(file.name, request, b"", limits) as worker:
        message, payload = worker.receive()
    arrays = unpack_arrays(message["arrays"], payload)
    seconds = arrays.pop("frame_seconds")
    return VideoInfo(
        path=file,
        frame_seconds=seconds,
        num_frames=len(seconds),
        size_bytes=size_bytes,
        notes=tuple(message["notes"]),
        index={"arrays": arrays, "changed": changed, "sample": sample, "flags": message["flags"]},
        **{**message["info"], "stored_size": tuple(message["info"]["stored_size"])},
    )


def check_decoder(decoder: str) -> None:
    if decoder not in DECODERS:
        raise VideoError(f"{decoder!r} is not a valid decoder", f"use {' or '.join(DECODERS)}")


def check_file(file: Path, limits: DecodeLimits) -> tuple[int, int]:
    """Return (size in bytes, modification time in ns) of a file that may be a video."""
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise VideoError(f"{file.name or file} {reason}", "check the path, or upload the file again") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise VideoError(f"{file} is {kind}", CHOOSE_VIDEO)
    if status.st_size == 0:
        raise VideoError(f"{file.name} is empty (0 bytes)", "upload it again; the transfer may have failed")
    if status.st_size > limits.max_size_bytes:
        sizes = f"{status.st_size / MIB:.0f} MB, above the limit of {limits.max_size_bytes / MIB:.0f} MB"
        raise VideoError(f"{file.name} is {sizes}", "cut or compress the video, or raise the limit")
    try:
        with file.open("rb") as opened:
            check_is_binary(file.name, opened)
    except OSError as error:
        message = f"{file.name} cannot be read ({error.strerror})"
        raise VideoError(message, "check the file's permissions") from error
    return status.st_size, status.st_mtime_ns


def check_unchanged(file: Path, info: VideoInfo, limits: DecodeLimits) -> None:
    """Raise VideoError if the file is no longer the one that `info` describes. An identical copy passes."""
    size_bytes, changed = check_file(file, limits)
    is_same = size_bytes == info.size_bytes
    if is_same and changed != info.index["changed"]:
        is_same = sample_digest(file, size_bytes) == info.index["sample"]
    if not is_same:
        raise VideoError(f"{file.name} has changed since it was opened", "open it again")


def sample_digest(file: Path, size_bytes: int) -> str:
    """SHA-256 of evenly spaced blocks of a file; of a small file's whole content."""
    digest = hashlib.sha256()
    step = max(SAMPLE_BYTES, size_bytes // SAMPLES)
    with file.open("rb") as opened:
        for start in range(0, size_bytes, step):
            opened.seek(start)
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def check_is_binary(name: str, opened: BinaryIO) -> None:
    """Reject text: renamed documents, and playlists, which would make the decoder open other files."""
    head = opened.read(1024)
    if head.startswith(b"YUV4MPEG2"):
        return
    printable = set(range(32, 127)) | {9, 10, 12, 13, 27} | set(range(128, 256))
    if all(byte in printable for byte in head):
        raise VideoError(f"{name} is a text file or a playlist, not a video", CHOOSE_VIDEO)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    try:
        with Path(path).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        message = f"{Path(path).name} cannot be read ({error.strerror})"
        raise VideoError(message, "check the path, or upload the file again") from error
