"""Video frames to squares that match the original pixel for pixel, and their normalisation."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from longva_demo.parallel import in_threads
from longva_demo.unires import resize


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shortest side to `size`, then crop the central square. The model does not see the rest.

    A 640 x 360 image at size 336 becomes 597 x 336 (597 = int(336 * 640 / 360)), then 336 x 336.
    """
    width, height = image.size
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    if (new_width, new_height) != image.size:
        image = resize(image, new_width, new_height)
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return image.crop((left, top, left + size, top + size))


def reduce_to(image: Image.Image, size: int, gap: float) -> Image.Image:
    """Box-average to the smallest size whose shortest side is still at least `gap` × `size`. Much faster to resize.

    >>> reduce_to(Image.new("RGB", (960, 540)), 84, gap=3.0).size
    (480, 270)
    """
    factor = int(min(image.size) / (gap * size))
    return image.reduce(factor) if factor > 1 else image


def square_frames(frames: np.ndarray, size: int, reducing_gap: float | None = None) -> np.ndarray:
    """uint8 (frames, height, width, 3) to uint8 (frames, S, S, 3), on all cores.

    Raises:
        ValueError: `frames` have another dtype or shape, or there are none.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; use uint8 (frames, height, width, 3)")

    def to_square(frame: np.ndarray) -> np.ndarray:
        image = Image.fromarray(np.ascontiguousarray(frame))
        return np.asarray(
            resize_and_crop(image if reducing_gap is None else reduce_to(image, size, reducing_gap), size)
        )

    return np.stack(list(in_threads(to_square, frames)))


def grey_levels(
    mean: Sequence[float] | None, std: Sequence[float] | None, rescale_factor: float | None = 1 / 255
) -> np.ndarray:
    """(3, 256) float32: the normalised value of each grey level, with the original's intermediate rounding.

    Args:
        mean, std: per colour channel, for rescaled pixels; None leaves them as they are.
        rescale_factor: None leaves pixels between 0 and 255.
    """
    levels = np.tile((np.arange(256) * (1 if rescale_factor is None else rescale_factor)).astype(np.float32), (3, 1))
    if mean is None or std is None:
        return levels
    return (levels - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]


def normalise(pixels: np.ndarray, levels: np.ndarray) -> torch.Tensor:
    """uint8 (n, S, S, 3) to float32 (n, 3, S, S), by a table of `grey_levels`."""
    assert (pixels.dtype, pixels.ndim) == (np.uint8, 4), (pixels.dtype, pixels.shape)
    values = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for colour, level in enumerate(levels):
        values[:, colour] = level[pixels[..., colour]]
    return torch.from_numpy(values)
