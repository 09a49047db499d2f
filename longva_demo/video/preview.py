"""A small copy of a video that every browser plays, with the timestamps of the original."""

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

MAX_SIDE = 640
MAX_FPS = 15
MAX_FRAMES = 4500  # five minutes at the full rate; longer videos get a lower rate
# 100 s of 1080p at 30 frames per second. Decoding more takes over half a minute on two cores.
MAX_DECODED_PIXELS = 6_000_000_000
MAX_KEY_INTERVAL_SECONDS = 30.0  # if key frames are farther apart on average, they alone show too little
FULL_DECODE_SECONDS = 60.0  # after this time, the rest of the preview consists of key frames only
TIMEOUT_SECONDS = 180.0
MAX_PREVIEW_BYTES = 512 * MIB


@dataclass(frozen=True)
class PreviewProgress:
    """share: fraction of the video processed, 0 to 1. num_frames: frames written to the preview so far."""

    share: float
    num_frames: int
    is_ready: bool = False


def is_playable(info: VideoInfo) -> bool:
    """Whether every current browser plays the file: 8-bit 4:2:0 H.264 in MP4 or MOV, VP8 or VP9 in WebM.

    Many browsers play more (HEVC on some hardware, AV1, Matroska files), but not all of them do.
    """
    if info.pixel_format not in ("yuv420p", "yuvj420p"):
        return False
    containers = info.container.split(",")
    if "webm" in containers:  # FFmpeg uses one name for Matroska and WebM
        return info.path.suffix.lower() == ".webm" and info.codec in ("vp8", "vp9")
    return "mp4" in containers and info.codec == "h264"


def preview_size(width: int, height: int) -> tuple[int, int]:
    """The preview's width and height: even, `MAX_SIDE` at most, never enlarged. 1920 × 1080 → 640 × 360."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return max(16, round(width * scale / 2) * 2), max(16, round(height * scale / 2) * 2)


def choose_frames(info: VideoInfo) -> np.ndarray:
    """(chosen,) numbers of the frames in the preview, ascending.

    They are at least 1/15 s apart, and there are `MAX_FRAMES` at most. If decoding the whole video would take too
    long, only key frames are chosen, since each decodes on its own. Examples: 4 s at 30 frames per second → 0, 2,
    4 …; an hour at 25 frames per second with a key frame every 2 s → 0, 50, 100 …
    """
    arrays = info.index["arrays"]
    pool = np.arange(info.num_frames)
    if info.num_frames * info.width * info.height > MAX_DECODED_PIXELS:
        keys = np.flatnonzero(np.isin(arrays["shown"], arrays["key_packets"]))
        if len(keys) * MAX_KEY_INTERVAL_SECONDS >= info.duration_seconds:
            pool = np.union1d([0], keys)
    seconds = info.frame_seconds[pool]
    spacing = max(1 / MAX_FPS, (info.duration_seconds - seconds[0]) / MAX_FRAMES)
    chosen = [0]
    while True:
        # Timestamps are rounded, so the next frame may be slightly early.
        position = int(np.searchsorted(seconds, seconds[chosen[-1]] + spacing - 0.002))
        if position >= len(seconds):
            return pool[chosen]
        chosen.append(position)


def make_preview(
    path: str | os.PathLike[str],
    target: Path,
    info: VideoInfo,
    limits: DecodeLimits | None = None,
    *,
    full_decode_seconds: float = FULL_DECODE_SECONDS,
) -> Iterator[PreviewProgress]:
    """Write the preview to `target`, an MP4 (H.264, 4:2:0, no sound), in a worker process; yield progress.

    Frames keep their times in `info.frame_seconds`; they are upright and have square pixels. Each frame is shown until
    the next one. The file is written next to `target` and moved there when complete, just before the last item, whose
    `is_ready` is True. Closing the iterator ends the worker and leaves no file behind.

    Raises:
        VideoError: nothing could be decoded, a limit was exceeded, the disk is full, or the worker crashed or was
            killed.
    """
    limits = limits or DecodeLimits()
    file = Path(path)
    check_unchanged(file, info, limits)
    limits = replace(limits, timeout_seconds=min(limits.timeout_seconds, TIMEOUT_SECONDS))
    return _make(file, target, info, limits, full_decode_seconds)


def _make(
    file: Path, target: Path, info: VideoInfo, limits: DecodeLimits, full_decode_seconds: float
) -> Iterator[PreviewProgress]:
    part = target.with_name(f"{target.name}.part")
    request, payload = _request(file, part, info, limits, full_decode_seconds)
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
            raise VideoError(f"the preview of {file.name} cannot be saved ({error.strerror})", "try again") from error
        yield PreviewProgress(1.0, message["num_frames"], is_ready=True)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _request(
    file: Path, part: Path, info: VideoInfo, limits: DecodeLimits, full_decode_seconds: float
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
        "full_decode_seconds": full_decode_seconds,
        "arrays": layout,
        "flags": info.index["flags"],
    }
    return request, payload
