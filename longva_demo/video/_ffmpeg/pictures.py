"""Convert a decoded frame to RGB pixels as a browser shows it. Runs in the worker.

The result is upright, has square pixels, is composited on white if transparent, is in sRGB, and is scaled to fit if
its size differs.
"""

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from longva_demo.video._ffmpeg.orientation import orientation_of
from longva_demo.video._ffmpeg.transparency import has_alpha, is_padding, on_white
from longva_demo.video.tone_map import UNSPECIFIED, needs_mapping, to_srgb

MAX_ASPECT = 4  # a more extreme pixel aspect ratio is treated as an error in the file
MIN_FILL = 0.99  # a frame that fills this share of a side is stretched to fill it, which avoids bars of a pixel or two


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size with square pixels. One side is stretched, as in browsers, so no detail is lost.

    Example: 720 × 576 with 16:11 pixels → 1047 × 576; with 8:9 pixels → 720 × 648.
    """
    if not aspect or aspect == 1 or not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


class PictureWriter:
    """Writes frames as RGB into given memory. One swscale context serves all frames of a video."""

    def __init__(self, width: int, height: int, scale: tuple[float, float]) -> None:
        """Width and height are as displayed, after rotation; `scale` is `VideoInfo.scale_to` of that size."""
        self.width = width
        self.height = height
        self._scale = scale
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, out: np.ndarray) -> None:
        """Write into `out`, uint8 (height, width, 3). A frame of another shape is centred on black."""
        orientation = orientation_of(frame)
        width, height = self._fitted(frame, orientation.is_sideways)
        stored = (height, width) if orientation.is_sideways else (width, height)
        left, top = (self.width - width) // 2, (self.height - height) // 2
        if (width, height) != (self.width, self.height):
            out[:] = 0
        np.copyto(out[top : top + height, left : left + width], orientation.apply(self._pixels(frame, *stored)))

    def _fitted(self, frame: VideoFrame, is_sideways: bool) -> tuple[int, int]:
        """The largest displayed size at which the frame fits.

        Example: 640 × 480 in a video of 1280 × 720 → 960 × 720.
        """
        width, height = frame.width * self._scale[0], frame.height * self._scale[1]
        if is_sideways:
            width, height = height, width
        factor = min(self.width / width, self.height / height)
        width, height = width * factor, height * factor
        return (
            self.width if width > MIN_FILL * self.width else max(1, round(width)),
            self.height if height > MIN_FILL * self.height else max(1, round(height)),
        )

    def _pixels(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        """RGB, uint8 (height, width, 3), as stored."""
        if needs_mapping(frame.color_trc, frame.color_primaries):
            return self._tone_mapped(frame, width, height)
        if has_alpha(frame):
            # Composite before scaling: colours of transparent pixels must not bleed into their neighbours.
            rgba = as_array(self._reformatter.reformat(frame, format="rgba", threads=1), np.uint8, 4)
            opaque = np.ascontiguousarray(rgba[..., :3]) if is_padding(frame, rgba) else on_white(rgba)
            frame = VideoFrame.from_ndarray(opaque, format="rgb24")
        return as_array(self._reformatter.reformat(frame, width, height, "rgb24", threads=1), np.uint8, 3)

    def _tone_mapped(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        matrix = Colorspace.BT2020 if frame.colorspace == UNSPECIFIED else None
        if not has_alpha(frame):
            deep = self._reformatter.reformat(frame, width, height, "rgb48le", matrix, threads=1)
            return to_srgb(as_array(deep, np.uint16, 3), frame.color_trc, frame.color_primaries)
        deep = self._reformatter.reformat(frame, format="rgba64le", src_colorspace=matrix, threads=1)
        rgba = as_array(deep, np.uint16, 4)
        mapped = to_srgb(rgba[..., :3], frame.color_trc, frame.color_primaries)
        opaque = on_white(np.dstack([mapped, (rgba[..., 3] >> 8).astype(np.uint8)]))
        plain = VideoFrame.from_ndarray(opaque, format="rgb24")
        return as_array(self._reformatter.reformat(plain, width, height, "rgb24", threads=1), np.uint8, 3)


def as_array(frame: VideoFrame, kind: type, channels: int) -> np.ndarray:
    """(height, width, channels) view of a packed frame."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)[: frame.height]
    row_bytes = frame.width * channels * np.dtype(kind).itemsize
    return rows[:, :row_bytes].view(kind).reshape(frame.height, frame.width, channels)
