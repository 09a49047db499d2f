"""UniRes: images to grids that match the original pixel for pixel. Needs no torch, so that a worker can do it."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bicubic with antialiasing, horizontal pass first: identical pixels on every version of Pillow.

    Pillow 13 runs the cheaper pass first, which differs by up to 25 grey levels from what the model was trained on.
    """
    return image.resize((width, image.height), Image.Resampling.BICUBIC).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def best_resolution(image_size: tuple[int, int], pinpoints: Sequence[Sequence[int]]) -> tuple[int, int]:
    """The resolution that keeps most of an image's pixels, and among those wastes fewest. All are (width, height).

    >>> best_resolution((640, 360), [(336, 672), (672, 336), (672, 672)])
    (672, 672)
    """
    width, height = image_size
    best, best_rank = pinpoints[0], (-1, 0)
    for point in pinpoints:
        scale = min(point[0] / width, point[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        rank = (kept, kept - point[0] * point[1])  # more kept, then less wasted; the first wins a tie
        if rank > best_rank:
            best, best_rank = point, rank
    return best[0], best[1]


def resize_and_pad(image: Image.Image, width: int, height: int) -> Image.Image:
    """Fit an image into (width, height), keeping its aspect ratio, centred on black."""
    scale_width, scale_height = width / image.width, height / image.height
    if scale_width < scale_height:
        new_width, new_height = width, min(math.ceil(image.height * scale_width), height)
    else:
        new_width, new_height = min(math.ceil(image.width * scale_height), width), height
    canvas = Image.new("RGB", (width, height))
    canvas.paste(resize(image, new_width, new_height), ((width - new_width) // 2, (height - new_height) // 2))
    return canvas


def split_image(image: Image.Image, size: int, pinpoints: Sequence[Sequence[int]]) -> np.ndarray:
    """UniRes: an image to uint8 (1 + grids, S, S, 3): the whole image, squashed, then its grids row by row."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = best_resolution(image.size, pinpoints)
    canvas = np.asarray(resize_and_pad(image, width, height))  # (height, width, 3)
    grids = canvas.reshape(height // size, size, width // size, size, 3).swapaxes(1, 2)
    whole = np.asarray(resize(image, size, size))[None]
    return np.concatenate([whole, grids.reshape(-1, size, size, 3)])  # (1 + grids, S, S, 3)
