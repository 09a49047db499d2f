"""What a still picture's stored values mean as RGB: of any depth, transparent or not, of any brightness.

Ordinary pictures come out exactly as Pillow converts them. Beyond those:

- 16-bit integers (PNG, TIFF; a PGM of any maximum, which Pillow brings to 16 bits): 0 to 65535 become 0 to 255.
- 32-bit integers: the same where they fit into 16 bits, else the smallest becomes 0 and the largest 255.
- Floating-point numbers: 0 to 1 become 0 to 255; where some lie outside of that, the smallest becomes 0 and the largest
  255. What is no number is black.
- Transparency is composed on white.
- PQ and HLG are tone mapped as in films.
"""

import numpy as np
from PIL import Image, TiffTags

from longva_demo.video.code_points import CodePoints
from longva_demo.video.tone_map import needs_mapping, to_srgb

WHITE = (255, 255, 255)
SAMPLE_FORMAT, BITS_PER_SAMPLE = TiffTags.lookup(339).value, TiffTags.lookup(258).value
UNSIGNED = 1


def as_rgb(image: Image.Image, code_points: CodePoints | None) -> Image.Image:
    """The picture in mode RGB; `code_points` say how its colours are coded where that is known."""
    if image.mode.startswith("I") or image.mode == "F":
        return from_deep(image)
    opaque = on_white(image) if image.has_transparency_data else image.convert("RGB")
    if code_points is None or not needs_mapping(code_points.transfer, code_points.primaries):
        return opaque
    pixels = np.asarray(opaque).astype(np.uint16) * 257
    return Image.fromarray(to_srgb(pixels, code_points.transfer, code_points.primaries))


def on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    paper = Image.new("RGB", image.size, WHITE)
    paper.paste(rgba, mask=rgba.getchannel("A"))
    return paper


def from_deep(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits (modes I;16, I and F) as RGB."""
    values = np.asarray(image)
    if is_unsigned(image):
        values = values.view(np.uint32)
    grey = scaled(values)
    clear = image.info.get("transparency")  # PNG: the value that stands for clear
    if isinstance(clear, int):
        grey = np.where(values == clear, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def is_unsigned(image: Image.Image) -> bool:
    """Whether these are unsigned integers of 32 bits, which Pillow keeps in signed ones."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "I" and tags.get(BITS_PER_SAMPLE) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (UNSIGNED,)


def scaled(values: np.ndarray) -> np.ndarray:
    """uint8 of the same shape; how is said at the top of this file."""
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, np.nanmin(values, initial=0.0, where=np.isfinite(values)))
    low, high = float(values.min()), float(values.max())
    limit = 1.0 if values.dtype.kind == "f" else 65535.0
    if low >= 0 and high <= limit:
        low, high = 0.0, limit
    span = max(high - low, 1e-12)
    out = np.empty(values.shape, dtype=np.uint8)
    for row, line in enumerate(values):  # by rows, to bound memory
        out[row] = (line.astype(np.float64) - low) * (255 / span) + 0.5
    return out
