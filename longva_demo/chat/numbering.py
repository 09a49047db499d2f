"""Number the frames (NumPro, arXiv 2411.10332): the model reads where in the video it is.

The number of a frame among the samples, from 1, is drawn on the pixels that the model is given: red, bottom right,
40 pixels high at LongVA's 336. An answer can then name "frame 17", which the page links to its time.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT_SHARE = 40 / 336  # of the font, as published
MARGIN_SHARE = 4 / 336
RED = (255, 0, 0)


def number_frames(pixels: np.ndarray, first: int) -> np.ndarray:
    """A copy of frames, uint8 (frames, S, S, 3), with the numbers from `first` on drawn on them."""
    numbered = pixels.copy()
    side = pixels.shape[1]
    for position, frame in enumerate(numbered):
        mask = number_mask(first + position, side)
        height, width = mask.shape
        corner = frame[side - height :, side - width :]
        corner[:] = np.where(mask[..., None], np.array(RED, np.uint8), corner)
    return numbered


@lru_cache(maxsize=4096)
def number_mask(number: int, side: int) -> np.ndarray:
    """Where the number is drawn in the bottom right corner of a frame: bool (height, width), the margin included."""
    font = ImageFont.load_default(size=round(HEIGHT_SHARE * side))
    left, top, right, bottom = (round(edge) for edge in font.getbbox(str(number)))
    margin = max(1, round(MARGIN_SHARE * side))
    picture = Image.new("L", (right - left + margin, bottom - top + margin), 0)
    ImageDraw.Draw(picture).text((-left, -top), str(number), fill=255, font=font)
    return np.asarray(picture) >= 128
