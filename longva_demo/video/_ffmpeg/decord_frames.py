"""Frames decoded by decord, the reference's decoder, including its errors. Runs in the worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.container import Heartbeat, open_video
from longva_demo.video.limits import DecodeLimits

USE_PYAV = "use the decoder pyav"


def open_decord(path: Path) -> Any:
    """Open with decord, an optional dependency.

    Raises:
        VideoError: decord is not installed, or cannot read this file.
    """
    try:
        import decord
    except (ImportError, OSError) as error:
        message = f"decord cannot be imported ({str(error).splitlines()[0][:120]})"
        raise VideoError(message, f"install it with `pip install decord`, or {USE_PYAV}") from error
    try:
        return decord.VideoReader(str(path), ctx=decord.cpu(0))
    except Exception as error:  # DECORDError or RuntimeError, with a native stack trace
        raise VideoError(f"decord cannot read {path.name} ({_short_reason(error)})", USE_PYAV) from error


def decord_seconds(path: Path) -> tuple[np.ndarray, float, float]:
    """Return ((frames,) start times, end of the last frame, mean rate) according to decord."""
    reader = open_decord(path)
    spans = reader.get_frame_timestamp(range(len(reader)))  # (frames, 2) start and end
    starts = spans[:, 0].astype(np.float64)
    return starts, float(spans[-1, 1]), float(reader.get_avg_fps())


def decord_frames(
    path: Path, indices: list[int], limits: DecodeLimits, heartbeat: Heartbeat
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, uint8 (height, width, 3)) one frame at a time; equals one `get_batch` of all frames."""
    open_video(path, limits).close()  # PyAV rejects playlists and URLs, which decord would open
    reader = open_decord(path)
    for index in indices:
        if index >= len(reader):
            continue
        try:
            pixels = reader.get_batch([index]).asnumpy()[0]
        except Exception as error:
            message = f"decord cannot decode frame {index} of {path.name} ({_short_reason(error)})"
            raise VideoError(message, USE_PYAV) from error
        heartbeat()
        yield index, pixels


def _short_reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.rpartition("ERROR ")[2].rpartition("Check failed: ")[2].strip()[:120]
