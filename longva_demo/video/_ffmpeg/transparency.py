"""Composite transparent frames on white, as a browser shows them on a white page."""

import numpy as np
from av.video.frame import VideoFrame

ROWS_PER_BLOCK = 64  # composited at a time, to bound memory


def has_alpha(frame: VideoFrame) -> bool:
    """Whether pixels may be transparent, including palette colours."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def is_padding(frame: VideoFrame, rgba: np.ndarray) -> bool:
    """Whether the alpha channel is only padding: an AVI with 32 bits per pixel sets the last 8 to zero."""
    return frame.format.name == "bgra" and not rgba[..., 3].any()


def on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 4) with straight alpha → opaque RGB (height, width, 3)."""
    out = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
    for top in range(0, len(rgba), ROWS_PER_BLOCK):
        rows = rgba[top : top + ROWS_PER_BLOCK]
        darkness = (255 - rows[..., :3]).astype(np.uint16) * rows[..., 3:]
        out[top : top + ROWS_PER_BLOCK] = 255 - (darkness + 127) // 255
    return out
