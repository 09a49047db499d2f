"""A small copy of a video that every browser plays, on the same clock as the original."""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._worker.process import WorkerProcess
from longva_demo.video._worker.wire import pack_arrays
from longva_demo.video.limits import MIB, DecodeLimits
from longva_demo.video.probe import VideoInfo, check_unchanged

LONGEST_SIDE = 640
MAX_RATE = 15  # frames a second
MAX_FRAMES = 4500  # five minutes at the full rate; a longer video gets fewer a second
# Decoding more than this, 100 s of 1080p at 30 frames a second, takes two cores longer than half a minute.
MAX_DECODED_PIXELS = 6_000_000_000
MAX_KEY_SECONDS = 30.0  # where key frames lie farther apart than this on average, they alone show too little
# After so long at work, the rest is made of key frames; after the other, there is no preview.
PATIENCE_SECONDS = 60.0
TIMEOUT_SECONDS = 180.0
MAX_PREVIEW_BYTES = 512 * MIB


@dataclass(frozen=True)
class PreviewProgress:
    """share: how much of the video has been passed, 0 to 1. num_frames: pictures in the preview so far."""

    share: float
    num_frames: int
    is_ready: bool = False


def is_playable(info: VideoInfo) -> bool:
    """Whether every current browser plays the file: 8-bit 4:2:0 H.264 in MP4 or MOV, VP8 or VP9 in WebM.

    Many browsers play more (HEVC with the right hardware, AV1, Matroska files); none should have to.
    """
    if info.pixel_format not in ("yuv420p", "yuvj420p"):
        return False
    containers = info.container.split(",")
    if "webm" in containers:  # FFmpeg has one name for Matroska and WebM
        return info.path.suffix.lower() == ".webm" and info.codec in ("vp8", "vp9")
    return "mp4" in containers and info.codec == "h264"


def preview_size(width: int, height: int) -> tuple[int, int]:
    """The preview's even width and height: `LONGEST_SIDE` at most, never enlarged. 1920 × 1080 → 640 × 360."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(16, round(width * scale / 2) * 2), max(16, round(height * scale / 2) * 2)


def choose_frames(info: VideoInfo) -> np.ndarray:
    """(chosen,) numbers of the frames that the preview is made of, ascending.

    They are at least 1/15 s apart, and `MAX_FRAMES` at most. Where decoding the whole video would take too long, only
    key frames are chosen, which are decoded without their neighbours: a still every few seconds. Examples:
    4 s at 30 frames a second → 0, 2, 4 …; an hour at 25 with a key frame every 2 s → 0, 50, 100 …
    """
    arrays = info.index["arrays"]
    pool = np.arange(info.num_frames)
    if info.num_frames * info.width * info.height > MAX_DECODED_PIXELS:
        keys = np.flatnonzero(np.isin(arrays["shown"], arrays["key_packets"]))
        if len(keys) * MAX_KEY_SECONDS >= info.duration_seconds:
            pool = np.union1d([0], keys)
    seconds = info.frame_seconds[pool]
    spacing = max(1 / MAX_RATE, (info.duration_seconds - seconds[0]) / MAX_FRAMES)
    chosen = [0]
    while True:
        # Time stamps are rounded: the next frame may come a little early.
        place = int(np.searchsorted(seconds, seconds[chosen[-1]] + spacing - 0.002))
        if place >= len(seconds):
            return pool[chosen]
        chosen.append(place)


def make_preview(
    path: str | os.PathLike[str],
    target: Path,
    info: VideoInfo,
    limits: DecodeLimits | None = None,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[PreviewProgress]:
    """Write the preview to `target`, an MP4 (H.264, 4:2:0, no sound), in a worker process; yield progress.

    Each picture keeps its own time on the clock of `info.frame_seconds`, upright and with square pixels; times between
    two pictures show the earlier one. The file is written beside `target` and moved there when it is whole, just before
    the last item, which is ready. Closing the iterator ends the worker and leaves nothing behind.

    Raises:
        VideoError: nothing could be decoded, a limit was reached, the disk is full, the worker crashed or was killed.
    """
    limits = limits or DecodeLimits()
    file = Path(path)
    check_unchanged(file, info, limits)
    limits = replace(limits, timeout_seconds=min(limits.timeout_seconds, TIMEOUT_SECONDS))
    return _make(file, target, info, limits, patience_seconds)


def _make(
    file: Path, target: Path, info: VideoInfo, limits: DecodeLimits, patience_seconds: float
) -> Iterator[PreviewProgress]:
    part = target.with_name(f"{target.name}.part")
    request, payload = _request(file, part, info, limits, patience_seconds)
    try:
        with WorkerProcess(file.name, request, payload, limits) as worker:
            while True:
                message, _ = worker.receive()
                if message["kind"] == "done":
                    break
                yield PreviewProgress(message["share"], message["num_frames"])
        try:
            part.replace(target)
        except OSError as error:
            raise VideoError(f"the preview of {file.name} cannot be kept ({error.strerror})", "try again") from error
        yield PreviewProgress(1.0, message["num_frames"], is_ready=True)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _request(
    file: Path, part: Path, info: VideoInfo, limits: DecodeLimits, patience_seconds: float
) -> tuple[dict[str, Any], bytes]:
    chosen = choose_frames(info)
    layout, payload = pack_arrays(info.index["arrays"])
    width, height = preview_size(info.width, info.height)
    assert math.isfinite(info.duration_seconds), info.duration_seconds
    request = {
        "task": "preview",
        "path": str(file.resolve()),
        "target": str(part.absolute()),
        "max_bytes": MAX_PREVIEW_BYTES,
        "limits": limits.to_dict(),
        "width": width,
        "height": height,
        "scale": info.scale_to(width, height),
        "indices": chosen.tolist(),
        "seconds": info.frame_seconds[chosen].tolist(),
        "end_seconds": info.duration_seconds,
        "patience_seconds": patience_seconds,
        "arrays": layout,
        "flags": info.index["flags"],
    }
    return request, payload
