"""Decompression bombs: pictures and animations that are refused with one message, quickly and without using memory."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.settings import Settings

SETTINGS = Settings()
MAX_GROWTH, MAX_SECONDS = 200e6, 20.0


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), SETTINGS)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path) -> None:
    """60,000 × 60,000 pixels of one bit in 1.5 kB."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(60_000 // 8 * 200), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def png_text(path: Path) -> None:
    """A small picture with a text chunk of 200 MB."""
    Image.new("RGB", (8, 8)).save(path, "PNG")
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 9)) + data[33:])


def gif_canvas(path: Path, num_frames: int) -> None:
    frames(path, num_frames, format="GIF")
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, 6, 60_000, 60_000)
    path.write_bytes(data)


def frames(path: Path, count: int, **options: object) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(count)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)  # type: ignore[arg-type]


def webp(path: Path) -> None:
    """A header that declares 16,384 × 16,384 pixels: two numbers of 14 bits."""
    Image.new("RGB", (8, 8)).save(path, "WEBP", lossless=True)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8L"
    data[21:25] = struct.pack("<I", int.from_bytes(data[21:25], "little") | 0x0FFF_FFFF)
    path.write_bytes(data)


def moving_webp(path: Path) -> None:
    """An animation of small frames on a canvas of 16,384 × 16,384 pixels."""
    frames(path, 3)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xff\x3f\0" * 2
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "PNG")
    path.write_bytes(file.getvalue()[:40])


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "canvas.png": (png, "has far too many pixels; scale it below 100 million pixels"),
    "text.png": (png_text, "cannot be read as a picture; upload a PNG or JPEG file"),
    "canvas.gif": (lambda path: gif_canvas(path, 1), "has far too many pixels; scale it below 100 million pixels"),
    "moving.gif": (lambda path: gif_canvas(path, 9), "has far too many pixels; scale it below 100 million pixels"),
    "canvas.webp": (webp, "has far too many pixels; scale it below 100 million pixels"),
    "moving.webp": (moving_webp, "has far too many pixels; scale it below 100 million pixels"),
    "cut-off.png": (cut_off, "cannot be read as a picture; upload a PNG or JPEG file"),
}


@pytest.mark.parametrize("name", FILES)
def test_bombs_are_refused_before_they_are_decompressed(name: str, engine: LocalEngine, tmp_path: Path) -> None:
    write, expected = FILES[name]
    write(tmp_path / name)
    process = psutil.Process()
    before, began = process.memory_info().rss, time.monotonic()
    with pytest.raises(DemoError) as caught:
        Selection(tmp_path / name, 8).open_source(engine, SETTINGS)
    assert f"{name} {expected}" in str(caught.value)
    assert process.memory_info().rss - before < MAX_GROWTH
    assert time.monotonic() - began < MAX_SECONDS


def test_thousands_of_frames_are_a_video(engine: LocalEngine, tmp_path: Path) -> None:
    frames(tmp_path / "long.gif", 3000, duration=20)
    source = Selection(tmp_path / "long.gif", 8).open_source(engine, SETTINGS)
    assert isinstance(source, VideoSource)
    assert source.info.num_frames == 3000
    assert sum(len(batch) for batch in source.frames()) == 8
    source.close()


@pytest.mark.parametrize(("name", "kind"), [("pages.tiff", "TIFF"), ("phone.jpg", "MPO")])
def test_the_first_of_several_pictures_is_used(name: str, kind: str, engine: LocalEngine, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    pictures[0].save(tmp_path / name, kind, save_all=True, append_images=pictures[1:])
    source = Selection(tmp_path / name, 8).open_source(engine, SETTINGS)
    assert not isinstance(source, VideoSource)
    red, _, blue = source.thumbnail.getpixel((16, 16))
    assert red > 200 > 50 > blue
