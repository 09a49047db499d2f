"""Transparent pictures on white paper, as a browser shows them on a white page: what is hidden stays hidden."""

import numpy as np
from av.video.frame import VideoFrame

ROWS = 64  # composed at a time, to bound memory


def has_alpha(frame: VideoFrame) -> bool:
    """Whether pixels may be transparent; those of a palette may be, too."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def is_padding(frame: VideoFrame, rgba: np.ndarray) -> bool:
    """Whether the alpha channel is one in name only: an AVI with 32 bits a pixel leaves the last 8 at zero."""
    return frame.format.name == "bgra" and not rgba[..., 3].any()


def on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 4), colours not yet multiplied, as opaque RGB (height, width, 3)."""
    out = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
    for top in range(0, len(rgba), ROWS):
        rows = rgba[top : top + ROWS]
        darkness = (255 - rows[..., :3]).astype(np.uint16) * rows[..., 3:]
        out[top : top + ROWS] = 255 - (darkness + 127) // 255
    return out
