"""A decoded frame as RGB pixels in the way a browser shows it: turned, and with square pixels. Runs in the worker."""

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

MAX_ASPECT = 4  # a stranger pixel shape than this is taken for a mistake in the file


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels. One side is stretched, as browsers do, so that no detail is lost.

    Example: 720 × 576 with pixels of 16:11 → 1047 × 576; with pixels of 8:9 → 720 × 648.
    """
    if not aspect or aspect == 1 or not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def clockwise_rotation(frame: VideoFrame) -> int:
    """Degrees clockwise to turn the frame for display, in steps of 90. (PyAV gives them counterclockwise.)"""
    return round(-frame.rotation / 90) % 4 * 90


class PictureWriter:
    """Writes frames as RGB into given memory: one swscale context for all frames of a video."""

    def __init__(self, width: int, height: int) -> None:
        """Width and height as displayed, after rotation."""
        self.width = width
        self.height = height
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, out: np.ndarray) -> None:
        """Write into `out`, uint8 (height, width, 3). A frame of another size is scaled to this one."""
        turns = clockwise_rotation(frame) // 90
        width, height = (self.height, self.width) if turns % 2 else (self.width, self.height)
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)[:height]
        pixels = rows[:, : width * 3].reshape(height, width, 3)
        np.copyto(out, np.rot90(pixels, -turns) if turns else pixels)
