"""Render fonts to the glyph bitmaps that scenes are drawn with, so that scenes look the same on every machine.

    python -m tools.tiny.make_glyphs DejaVuSans.ttf DejaVuSans-Bold.ttf ...

writes longva_demo/tiny/glyphs.npz: for each font a greyscale strip of all digits and capitals side by side, and the
left edge of each. The first font is always Pillow's own.
"""

import string
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = string.digits + string.ascii_uppercase
HEIGHT = 64  # of the strip; capitals are about 56 pixels high
TARGET = Path(__file__).resolve().parents[2] / "longva_demo" / "tiny" / "glyphs.npz"


def strip_of(font: ImageFont.FreeTypeFont) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels (HEIGHT, width) of all characters, and the left edge of each plus the right edge of the last."""
    columns, edges = [], [0]
    for character in CHARACTERS:
        left, _, right, _ = font.getbbox(character, anchor="ls")
        picture = Image.new("L", (int(right - left) + 4, HEIGHT), 0)
        ImageDraw.Draw(picture).text((2 - left, HEIGHT - 4), character, fill=255, font=font, anchor="ls")
        columns.append(np.asarray(picture))
        edges.append(edges[-1] + picture.width)
    return np.concatenate(columns, axis=1), np.array(edges, dtype=np.int32)


def sized(font: ImageFont.FreeTypeFont) -> ImageFont.FreeTypeFont:
    """The font at the size where an H is 56 pixels high."""
    trial = font.font_variant(size=100)
    _, top, _, bottom = trial.getbbox("H", anchor="ls")
    return font.font_variant(size=100 * 56 / (bottom - top))


def main(paths: list[str]) -> None:
    fonts = [ImageFont.load_default(size=80), *(ImageFont.truetype(path, 80) for path in paths)]
    arrays: dict[str, np.ndarray] = {}
    for index, font in enumerate(fonts):
        assert isinstance(font, ImageFont.FreeTypeFont)
        arrays[f"strip{index}"], arrays[f"edges{index}"] = strip_of(sized(font))
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]
    print(f"{TARGET.name}: {len(fonts)} fonts, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
