"""Transparent frames are composited on white, whatever colours the transparent pixels have."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from longva_demo.video import decode_frames, make_preview, plan_frames, probe
from longva_demo.video.still import is_picture, open_image
from tests.video.clips import write_clip

WIDTH, HEIGHT = 160, 120
RED = (220, 40, 40)
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
DISC = (ROWS - 60) ** 2 + (COLUMNS - 80) ** 2 < 40**2


def transparent_picture(number: int, alpha: int = 0) -> np.ndarray:
    """RGBA: a red disc, surrounded by random colours with `alpha` (0 to 255)."""
    picture = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    picture[..., 3] = alpha
    picture[DISC] = (*RED, 255)
    return picture


def check(picture: np.ndarray, tolerance: int) -> None:
    height, width = picture.shape[:2]
    background = picture[: height // 8].astype(int)
    assert np.abs(background - 255).max() <= tolerance
    assert np.abs(picture[height // 2, width // 2].astype(int) - RED).max() <= tolerance


@dataclass(frozen=True)
class Case:
    file: str
    codec: str
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)
    tolerance: int = 0


CASES = [
    Case("prores.mov", "prores_ks", "yuva444p10le", {"profile": "4444"}, tolerance=6),
    Case("vp9.webm", "libvpx-vp9", "yuva420p", {"g": "2"}, tolerance=6),
    Case("vp8.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0", "b": "2M"}, tolerance=6),
    Case("png.mov", "png", "rgba"),
    Case("animation.mov", "qtrle", "argb"),
    Case("moving.apng", "apng", "rgba"),
    Case("moving.png", "apng", "rgba"),
    Case("ffv1.mkv", "ffv1", "bgra"),
    Case("utvideo.avi", "utvideo", "gbrap"),
    Case("cineform.mov", "cfhd", "gbrap12le", tolerance=6),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_videos(case: Case, clips: Path) -> None:
    settings: dict[str, Any] = {"container": "apng"} if case.file == "moving.png" else {}
    path = write_clip(
        clips / f"clear-{case.file}", 4, codec=case.codec, fps=10, size=(WIDTH, HEIGHT), pix_fmt=case.pix_fmt,
        options=case.options, pictures=transparent_picture, pixels="rgba", **settings,
    )  # fmt: skip
    assert not is_picture(path)
    info = probe(path)
    pixels = np.concatenate([batch.pixels for batch in decode_frames(path, plan_frames(info, 3), info=info)])
    assert len(pixels) == 3
    for picture in pixels:
        check(picture, case.tolerance)


def test_thumbnails_and_preview(clips: Path) -> None:
    """Colours of transparent pixels do not bleed in when frames are scaled down."""
    path = write_clip(
        clips / "clear-small.mov", 4, codec="png", size=(WIDTH, HEIGHT), pix_fmt="rgba", pictures=transparent_picture,
        pixels="rgba",
    )  # fmt: skip
    info = probe(path)
    batch = next(decode_frames(path, plan_frames(info, 2), info=info, size=(WIDTH // 2, HEIGHT // 2)))
    check(batch.pixels[0], 0)
    reds = np.array(RED) * np.linspace(0, 1, 256)[:, None] + 255 * np.linspace(1, 0, 256)[:, None]
    mixed = np.abs(batch.pixels[0].reshape(-1, 1, 3) - reds).sum(axis=2).min(axis=1)
    assert mixed.max() < 30  # only mixtures of red and white
    for _ in make_preview(path, clips / "clear-preview.mp4", info):
        pass
    preview = probe(clips / "clear-preview.mp4")
    check(next(decode_frames(preview.path, plan_frames(preview, 1), info=preview)).pixels[0], 16)


def test_translucent_pixels_are_blended_with_white(clips: Path) -> None:
    path = write_clip(
        clips / "translucent.mov", 2, codec="png", size=(WIDTH, HEIGHT), pix_fmt="rgba", pixels="rgba",
        pictures=lambda number: transparent_picture(number, alpha=51),
    )  # fmt: skip
    info = probe(path)
    pixels = next(decode_frames(path, plan_frames(info, 1), info=info)).pixels[0]
    stored = transparent_picture(0, alpha=51)
    expected = stored[..., :3] * (stored[..., 3:] / 255) + 255 * (1 - stored[..., 3:] / 255)
    assert np.abs(pixels - expected).max() <= 0.5


def test_32_bits_without_alpha(clips: Path) -> None:
    """An AVI with 32 bits per pixel, of which 8 are zero, is opaque."""
    path = write_clip(
        clips / "padded.avi", 2, codec="rawvideo", size=(WIDTH, HEIGHT), pix_fmt="bgra", pixels="bgra",
        pictures=lambda number: transparent_picture(number) * np.array([1, 1, 1, 0], dtype=np.uint8),
    )  # fmt: skip
    info = probe(path)
    pixels = next(decode_frames(path, plan_frames(info, 1), info=info)).pixels[0]
    assert np.array_equal(pixels, transparent_picture(0)[..., 2::-1])


def palette_picture() -> Image.Image:
    """A palette with transparent colours."""
    image = Image.fromarray(np.where(DISC, 0, ROWS % 7 + 1).astype(np.uint8), "P")
    image.putpalette([*RED, *np.random.default_rng(0).integers(0, 256, 21).tolist()])
    image.info["transparency"] = bytes([255, *[0] * 7])
    return image


def test_pictures(tmp_path: Path) -> None:
    picture = Image.fromarray(transparent_picture(0))
    for name in ("a.png", "a.webp", "a.tiff", "a.ico", "a.avif"):
        sizes = {"sizes": [(WIDTH, HEIGHT)]} if name == "a.ico" else {}
        picture.save(tmp_path / name, lossless=True, quality=100, exact=True, **sizes)
        check(np.asarray(open_image(tmp_path / name)), 0 if name != "a.avif" else 6)
    palette_picture().save(tmp_path / "palette.png")
    check(np.asarray(open_image(tmp_path / "palette.png")), 0)
    grey = Image.merge("LA", [Image.fromarray(transparent_picture(0)[..., band]) for band in (0, 3)])
    grey.save(tmp_path / "grey.png")
    assert (np.asarray(open_image(tmp_path / "grey.png"))[:15] == 255).all()
    Image.fromarray(np.where(DISC, 0, 1).astype(np.uint8), "P").save(tmp_path / "still.gif", transparency=1)
    assert (np.asarray(open_image(tmp_path / "still.gif"))[:15] == 255).all()


def test_a_transparent_colour_key(tmp_path: Path) -> None:
    """PNG's tRNS chunk without a palette."""
    rgb = np.full((HEIGHT, WIDTH, 3), (0, 0, 200), dtype=np.uint8)
    rgb[DISC] = RED
    Image.fromarray(rgb).save(tmp_path / "rgb.png", transparency=(0, 0, 200))
    check(np.asarray(open_image(tmp_path / "rgb.png")), 0)
    deep = np.where(DISC, 65535, 258).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=258)
    assert (np.asarray(open_image(tmp_path / "deep.png")) == 255).all()
