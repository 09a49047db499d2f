"""Frames and pictures to squares that match the original pixel for pixel. Needs neither torch nor transformers.

The same as in longva_demo; tests/vllm compare the two.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bicubic, horizontal pass first: Pillow 13, which vLLM uses, runs the cheaper pass first, which differs."""
    return image.resize((width, image.height), Image.Resampling.BICUBIC).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def square_frame(pixels: np.ndarray, side: int, reducing_gap: float | None = None) -> np.ndarray:
    """uint8 (height, width, 3) to uint8 (S, S, 3); a frame that is S × S already comes back unchanged.

    reducing_gap: average to the smallest size that is at least so many times S before resizing.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if reducing_gap is not None and (factor := int(min(image.size) / (reducing_gap * side))) > 1:
        image = image.reduce(factor)
    width, height = image.size
    new = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    if new != image.size:
        image = resize(image, *new)
    left, top = (new[0] - side) // 2, (new[1] - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


def best_resolution(size: tuple[int, int], pinpoints: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The resolution that keeps most of a picture's pixels, and among those wastes fewest. All are (width, height).

    >>> best_resolution((640, 360), [(336, 672), (672, 336), (672, 672)])
    (672, 672)
    """
    width, height = size
    best, best_rank = pinpoints[0], (-1, 0)
    for point in pinpoints:
        scale = min(point[0] / width, point[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        rank = (kept, kept - point[0] * point[1])  # more kept, then less wasted; the first wins a tie
        if rank > best_rank:
            best, best_rank = point, rank
    return best


def split_picture(image: Image.Image, side: int, pinpoints: Sequence[tuple[int, int]]) -> np.ndarray:
    """UniRes: a picture to uint8 (grids, S, S, 3), row by row. The squashed whole, which is dropped, is not made."""
    image = image.convert("RGB")
    width, height = best_resolution(image.size, pinpoints)
    scale_width, scale_height = width / image.width, height / image.height
    if scale_width < scale_height:
        new = width, min(math.ceil(image.height * scale_width), height)
    else:
        new = min(math.ceil(image.width * scale_height), width), height
    canvas = Image.new("RGB", (width, height))
    canvas.paste(resize(image, *new), ((width - new[0]) // 2, (height - new[1]) // 2))
    grids = np.asarray(canvas).reshape(height // side, side, width // side, side, 3).swapaxes(1, 2)
    return grids.reshape(-1, side, side, 3)


def grey_levels(mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(3, 256) float32: the normalised value of each grey level, with the original's intermediate rounding."""
    levels = (np.arange(256) * (1 / 255)).astype(np.float32)
    return (levels - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]
