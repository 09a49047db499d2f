"""Convert still pictures to 8-bit RGB: any bit depth, transparency, HDR.

Ordinary pictures are converted by Pillow. For the others:

- 16-bit integers (PNG, TIFF; PGM of any maximum, which Pillow scales to 16 bits): 0 to 65535 becomes 0 to 255.
- 32-bit integers: the same if they fit into 16 bits; otherwise the smallest becomes 0 and the largest 255.
- Floating-point numbers: 0 to 1 becomes 0 to 255. If any are outside that range, the smallest becomes 0 and the
  largest 255. NaN and infinity become black.
- Transparency is composited on white.
- PQ and HLG are tone-mapped, as in videos.
"""

import numpy as np
from PIL import Image, TiffTags

from longva_demo.video.code_points import CodePoints
from longva_demo.video.tone_map import needs_mapping, to_srgb

WHITE = (255, 255, 255)
SAMPLE_FORMAT, BITS_PER_SAMPLE = TiffTags.lookup(339).value, TiffTags.lookup(258).value
UNSIGNED = 1


def as_rgb(image: Image.Image, code_points: CodePoints | None) -> Image.Image:
    """The picture in mode RGB. `code_points` is its colour coding, if known."""
    if image.mode.startswith("I") or image.mode == "F":
        return from_deep(image)
    opaque = on_white(image) if image.has_transparency_data else image.convert("RGB")
    if code_points is None or not needs_mapping(code_points.transfer, code_points.primaries):
        return opaque
    pixels = np.asarray(opaque).astype(np.uint16) * 257
    return Image.fromarray(to_srgb(pixels, code_points.transfer, code_points.primaries))


def on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    background = Image.new("RGB", image.size, WHITE)
    background.paste(rgba, mask=rgba.getchannel("A"))
    return background


def from_deep(image: Image.Image) -> Image.Image:
    """Greyscale of more than 8 bits (modes I;16, I and F) as RGB."""
    values = np.asarray(image)
    if is_unsigned(image):
        values = values.view(np.uint32)
    grey = scaled(values)
    transparent = image.info.get("transparency")  # PNG: the value of transparent pixels
    if isinstance(transparent, int):
        grey = np.where(values == transparent, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def is_unsigned(image: Image.Image) -> bool:
    """Whether the values are unsigned 32-bit integers, which Pillow stores as signed."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "I" and tags.get(BITS_PER_SAMPLE) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (UNSIGNED,)


def scaled(values: np.ndarray) -> np.ndarray:
    """uint8 of the same shape, scaled as described at the top of this file."""
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, np.nanmin(values, initial=0.0, where=np.isfinite(values)))
    low, high = float(values.min()), float(values.max())
    limit = 1.0 if values.dtype.kind == "f" else 65535.0
    if low >= 0 and high <= limit:
        low, high = 0.0, limit
    span = max(high - low, 1e-12)
    out = np.empty(values.shape, dtype=np.uint8)
    for row, line in enumerate(values):  # row by row, to bound memory
        out[row] = (line.astype(np.float64) - low) * (255 / span) + 0.5
    return out
