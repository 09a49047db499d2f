"""Animated WebP and AVIF, decoded by Pillow: FFmpeg lacks animated WebP and ignores AVIF transparency.

Runs in the worker. There is no packet index: frames are decoded in sequence from the first one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.container import CONVERT, Heartbeat
from longva_demo.video._ffmpeg.indexing import check_duration
from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video.code_points import code_points
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.still import as_displayed

CODECS = {"WEBP": "webp", "AVIF": "av1"}
MIN_SECONDS, DEFAULT_SECONDS = 0.01, 0.1  # browsers show frames of 10 ms or less for 100 ms


def index_animation(
    path: Path, limits: DecodeLimits, heartbeat: Heartbeat
) -> tuple[dict[str, Any], list[str], PacketIndex, np.ndarray]:
    """Like `indexing.index_packets`. Decodes all frames, since Pillow reports times only then.

    Raises:
        VideoError: no frame can be decoded, or the file is too large or too long.
    """
    starts: list[float] = []
    durations: list[float] = []
    notes = []
    with open_animation(path, limits) as image:
        num_frames, kind = getattr(image, "n_frames", 1), image.format or ""
        size = (0, 0)
        for number in loaded_frames(image, range(num_frames)):
            if number == 0:
                size = as_displayed(image, None).size
            starts.append(image.info.get("timestamp", 0) / 1000)
            durations.append(image.info.get("duration", 0) / 1000)
            heartbeat()
    if not durations:
        raise VideoError(f"no frame of {path.name} can be decoded (the file is damaged)", CONVERT)
    if len(durations) < num_frames:
        notes.append(f"The file is truncated or damaged after frame {len(durations)}.")
    steps = shown_seconds(np.array(starts), np.array(durations))
    ends = np.cumsum(steps)
    check_duration(path, float(ends[-1]), limits)
    info = {
        "fps": len(durations) / float(ends[-1]),
        "duration_seconds": float(ends[-1]),
        "width": size[0],
        "height": size[1],
        "codec": CODECS[kind],
        "stored_size": size,
        "rotation": 0,
        "is_mirrored": False,
        "pixel_format": "rgb24",
        "container": kind.lower(),
    }
    numbers, first = np.arange(len(durations)), np.zeros(1, dtype=np.int64)
    index = PacketIndex(numbers, numbers, first, first, first, can_seek=False, reports_keys=False)
    return info, notes, index, ends - steps


def shown_seconds(starts: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """(frames,) how long each frame is shown. Uses start times: a sum of durations in whole milliseconds drifts."""
    steps = np.append(np.diff(starts), durations[-1])
    return np.where(durations > MIN_SECONDS, steps, DEFAULT_SECONDS)


def animation_frames(
    path: Path, indices: list[int], limits: DecodeLimits, heartbeat: Heartbeat
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (index, frame) for ascending indices, as displayed, until one cannot be decoded."""
    with open_animation(path, limits) as image:
        points = code_points(path, image.format or "")
        for index in loaded_frames(image, indices):
            heartbeat()
            yield index, VideoFrame.from_ndarray(np.asarray(as_displayed(image, points)), format="rgb24")


def loaded_frames(image: Image.Image, indices: range | list[int]) -> Iterator[int]:
    """Load the frames into `image` one by one until one fails; yield the number of each."""
    for index in indices:
        try:
            image.seek(index)
            image.load()
        except MemoryError:
            raise
        except Exception:  # Pillow raises exceptions of many types for damaged files
            return
        yield index


@contextmanager
def open_animation(path: Path, limits: DecodeLimits) -> Iterator[Image.Image]:
    try:
        image = Image.open(path, formats=tuple(CODECS))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(f"{path.name} is a damaged animation", CONVERT) from error
    with image:
        width, height = image.size
        if width * height > limits.max_frame_pixels:
            message = f"{path.name} has frames of {width} × {height} pixels"
            raise VideoError(message, f"convert it to at most {limits.max_frame_pixels:,} pixels per frame")
        if isinstance(image, WebPImageFile):
            # Pillow drops alpha if the header says opaque, but areas that no frame covers are transparent.
            image._mode = image.rawmode = "RGBA"
        yield image
