"""What is in a video file: size, length, and the presentation time of every frame."""

import hashlib
import os
import stat
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._worker.process import WorkerProcess
from longva_demo.video._worker.wire import unpack_arrays
from longva_demo.video.limits import MIB, DecodeLimits

UPLOAD = "choose a video file, such as an MP4"
DECODERS = ("pyav", "decord")
# A file whose time of change is another is compared by this many blocks of so many bytes.
SAMPLES, SAMPLE_BYTES = 64, 64 * 1024


@dataclass(frozen=True)
class VideoInfo:
    """A video, as `probe` found it. Width and height are in pixels as displayed, after rotation.

    frame_seconds: (num_frames,) presentation time of each frame in display order, on the clock of a browser's
        player (`longva_demo.video._ffmpeg.indexing.time_zero`): the first need not be 0.
    duration_seconds: the end of the last frame on that clock.
    rotation, is_mirrored: for display, the stored pictures are mirrored (left and right) or not, and then turned
        clockwise by 0, 90, 180 or 270 degrees.
    stored_size: (width, height) of the decoded pictures that fill the displayed size.
    notes: what was lost or guessed, one sentence each.
    pixel_format: FFmpeg's name of what the decoder gives, such as yuv420p10le.
    index: where each frame's packets are; for the decoder.
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
    index: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.frame_seconds.shape == (self.num_frames,), self.frame_seconds.shape
        assert self.num_frames > 0
        assert self.width > 0
        assert self.height > 0

    def scale_to(self, width: int, height: int) -> tuple[float, float]:
        """Factors of width and height from stored pictures to displayed ones of `width` × `height`.

        Example: 720 × 576 with pixels of 16:11, turned by 90 degrees, to its displayed size 576 × 1047: 1.454 and 1.
        """
        across, down = (height, width) if self.rotation % 180 else (width, height)
        return across / self.stored_size[0], down / self.stored_size[1]

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, in hexadecimal; about a second a gigabyte, once."""
        return file_sha256(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        kept = [item.name for item in fields(self) if item.name not in ("path", "frame_seconds", "notes", "index")]
        return {"path": str(self.path), **{name: getattr(self, name) for name in kept}, "notes": list(self.notes)}


def probe(path: str | os.PathLike[str], limits: DecodeLimits | None = None, *, decoder: str = "pyav") -> VideoInfo:
    """Read a video's properties and the time of every frame, in a worker process.

    `decoder="decord"` counts and times frames as decord does, for reproducing the reference's choice of frames.

    Raises:
        VideoError: the file cannot be read as a video, or not within the limits; the line says what to do.
    """
    limits = limits or DecodeLimits()
    check_decoder(decoder)
    file = Path(path)
    size_bytes, changed = check_file(file, limits)
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
        raise VideoError(f"the decoder is {decoder!r}", f"use one of {', '.join(DECODERS)}")


def check_file(file: Path, limits: DecodeLimits) -> tuple[int, int]:
    """Return (size in bytes, time of the last change in ns) of a file that may be a video."""
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise VideoError(f"{file.name or file} {reason}", "check the path, or upload the file again") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise VideoError(f"{file} is {kind}", UPLOAD)
    if status.st_size == 0:
        raise VideoError(f"{file.name} is empty (0 bytes)", "upload it again; the transfer may have failed")
    if status.st_size > limits.max_size_bytes:
        sizes = f"{status.st_size / MIB:.0f} MB, above the limit of {limits.max_size_bytes / MIB:.0f} MB"
        raise VideoError(f"{file.name} has {sizes}", "cut or compress the video, or raise the limit")
    try:
        with file.open("rb") as opened:
            check_is_binary(file.name, opened)
    except OSError as error:
        message = f"{file.name} cannot be read ({error.strerror})"
        raise VideoError(message, "check the permissions of the file") from error
    return status.st_size, status.st_mtime_ns


def check_unchanged(file: Path, info: VideoInfo, limits: DecodeLimits) -> None:
    """Refuse a file that is no longer the one that `info` describes; the same one, uploaded again, is."""
    size_bytes, changed = check_file(file, limits)
    is_same = size_bytes == info.size_bytes
    if is_same and changed != info.index["changed"]:
        is_same = sample_digest(file, size_bytes) == info.index["sample"]
    if not is_same:
        raise VideoError(f"{file.name} was changed after it was probed", "load it again")


def sample_digest(file: Path, size_bytes: int) -> str:
    """SHA-256 of blocks spread evenly over a file; of all of it where it is small."""
    digest = hashlib.sha256()
    step = max(SAMPLE_BYTES, size_bytes // SAMPLES)
    with file.open("rb") as opened:
        for start in range(0, size_bytes, step):
            opened.seek(start)
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def check_is_binary(name: str, opened: BinaryIO) -> None:
    """Refuse text: renamed documents, and playlists, which would make the decoder open other files."""
    head = opened.read(1024)
    if head.startswith(b"YUV4MPEG2"):
        return
    printable = set(range(32, 127)) | {9, 10, 12, 13, 27} | set(range(128, 256))
    if all(byte in printable for byte in head):
        raise VideoError(f"{name} is a text file or a playlist, not a video", UPLOAD)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    try:
        with Path(path).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        message = f"{Path(path).name} cannot be read ({error.strerror})"
        raise VideoError(message, "check the path, or upload the file again") from error
