"""Still pictures of more or fewer than 8 bits are scaled, not clipped."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longva_demo.video.still import open_image

WIDTH, HEIGHT = 256, 32
RAMP = np.tile(np.arange(WIDTH) / (WIDTH - 1), (HEIGHT, 1))  # black to white, 0 to 1
GREYS = np.arange(WIDTH)


def check(path: Path, tolerance: int = 1) -> None:
    pixels = np.asarray(open_image(path)).astype(int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels - GREYS[None, :, None]).max() <= tolerance


def pnm(path: Path, values: np.ndarray, maximum: int, magic: str = "P5") -> Path:
    """A PGM or PPM with values up to `maximum`; two bytes per value above 255."""
    kind = ">u2" if maximum > 255 else "u1"
    path.write_bytes(f"{magic}\n{WIDTH} {HEIGHT}\n{maximum}\n".encode() + values.astype(kind).tobytes())
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_grey_of_16_bits(name: str, tmp_path: Path) -> None:
    Image.fromarray(np.round(RAMP * 65535).astype(np.uint16)).save(tmp_path / name)
    check(tmp_path / name)


@pytest.mark.parametrize("maximum", [65535, 4095, 1023, 255, 100, 15])
def test_pgm_of_any_maximum(maximum: int, tmp_path: Path) -> None:
    values = np.round(RAMP * maximum)
    pixels = np.asarray(open_image(pnm(tmp_path / "a.pgm", values, maximum))).astype(int)
    assert np.abs(pixels[..., 0] - values / maximum * 255).max() <= 1


def test_ppm_of_16_bits(tmp_path: Path) -> None:
    check(pnm(tmp_path / "a.ppm", np.repeat(np.round(RAMP * 4095)[..., None], 3, axis=2), 4095, "P6"))


@pytest.mark.parametrize("span", [1.0, 255.0, 65535.0])
def test_floating_point(span: float, tmp_path: Path) -> None:
    Image.fromarray((RAMP * span).astype(np.float32)).save(tmp_path / "a.tiff")
    check(tmp_path / "a.tiff")


def test_floating_point_below_zero_and_nan(tmp_path: Path) -> None:
    values = (RAMP * 6 - 3).astype(np.float32)
    values[0] = np.nan
    values[1] = np.inf
    Image.fromarray(values).save(tmp_path / "a.tiff")
    pixels = np.asarray(open_image(tmp_path / "a.tiff")).astype(int)
    assert (pixels[:2] == 0).all()
    assert np.abs(pixels[2:, :, 0] - GREYS).max() <= 1


@pytest.mark.parametrize("span", [65535, 10**6, 2**31 - 1])
def test_integers_of_32_bits(span: int, tmp_path: Path) -> None:
    Image.fromarray(np.round(RAMP * span).astype(np.int32)).save(tmp_path / "a.tiff")
    check(tmp_path / "a.tiff")


def test_unsigned_integers_of_32_bits(tmp_path: Path) -> None:
    values = np.round(RAMP * (2**32 - 1)).astype(np.uint32)
    Image.fromarray(values.view(np.int32)).save(tmp_path / "a.tiff")
    signed = struct.pack("<HHIH", 339, 3, 1, 2)  # Pillow only writes signed integers
    data = (tmp_path / "a.tiff").read_bytes()
    assert data.count(signed) == 1
    (tmp_path / "a.tiff").write_bytes(data.replace(signed, struct.pack("<HHIH", 339, 3, 1, 1)))
    check(tmp_path / "a.tiff")


def test_16_bits_darker_than_white_stay_dark(tmp_path: Path) -> None:
    """The full integer range is used, so a dark picture is not brightened."""
    Image.fromarray(np.round(RAMP * 32767).astype(np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_image(tmp_path / "a.png")).max() == 127


def test_few_bits_and_other_colours(tmp_path: Path) -> None:
    black_and_white = Image.fromarray(RAMP > 0.5)
    grey = Image.fromarray(GREYS.astype(np.uint8)[None].repeat(HEIGHT, axis=0))
    ink = Image.merge("CMYK", [Image.new("L", grey.size)] * 3 + [Image.eval(grey, lambda value: 255 - value)])
    for name in ("a.png", "a.tiff", "a.bmp", "a.pbm"):
        black_and_white.save(tmp_path / name)
        pixels = np.asarray(open_image(tmp_path / name))
        assert (pixels == np.where(RAMP > 0.5, 255, 0)[..., None]).all(), name
    for name in ("ink.tiff", "ink.jpg"):
        ink.save(tmp_path / name, **({"quality": 100} if name.endswith("jpg") else {}))
        check(tmp_path / name, 3)
