"""Pictures are opened in a worker, one at a time. The caller gets the model's pixels and a small copy."""

import hashlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from longva_demo.errors import VideoError
from longva_demo.unires import split_image
from longva_demo.video import DecodeLimits
from longva_demo.video.picture import read_picture
from longva_demo.video.still import is_picture, open_image
from tests.video.test_worker import MIB, ROOT, children

SIDE = 28
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 84], [28, 140]]
RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("open_files")


def noise(mode: str, width: int, height: int) -> Image.Image:
    rgba = RNG.integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(rgba).convert(mode)


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    noise("RGB", 210, 90).save(path, exif=exif)


def deep(path: Path) -> None:
    Image.fromarray(RNG.integers(0, 65536, (70, 30), dtype=np.uint16)).save(path)


PICTURES: dict[str, Callable[[Path], None]] = {
    "transparent.png": lambda path: noise("RGBA", 130, 70).save(path),
    "palette.gif": lambda path: noise("RGB", 9, 200).quantize(16).save(path),
    "print.tiff": lambda path: noise("CMYK", 64, 64).save(path),
    "one-pixel.webp": lambda path: noise("RGB", 1, 1).save(path),
    "rotated.jpg": rotated,
    "deep.png": deep,
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_pixels_are_those_of_the_open_picture(name: str, tmp_path: Path) -> None:
    PICTURES[name](tmp_path / name)
    expected = open_image(tmp_path / name)
    picture = read_picture(tmp_path / name, 50, SIDE, PINPOINTS)
    assert picture.size == expected.size
    assert picture.sha256 == hashlib.sha256(expected.tobytes()).hexdigest()
    assert np.array_equal(picture.slots, split_image(expected, SIDE, PINPOINTS))
    expected.thumbnail((50, 50))
    assert np.array_equal(picture.small, np.asarray(expected))


def test_grids_are_optional(tmp_path: Path) -> None:
    noise("RGB", 40, 30).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", 2048)
    assert (picture.small.shape, len(picture.slots)) == ((30, 40, 3), 0)


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (lambda path: path.write_bytes(b"nothing"), "a.png cannot be read as a picture; upload a PNG or JPEG file"),
        (
            lambda path: Image.new("1", (10_001, 10_000)).save(path),
            "a.png has 10001 × 10000 pixels; scale it below 100 million pixels",
        ),
    ],
)
def test_the_worker_reports_what_is_wrong(write: Callable[[Path], None], line: str, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    assert error_lines(tmp_path / "a.png") == [line, line]


def test_a_missing_picture(tmp_path: Path) -> None:
    line = f"{tmp_path / 'a.png'} does not exist; check the path"
    assert error_lines(tmp_path / "a.png") == [line, line]


def error_lines(path: Path) -> list[str]:
    """What is wrong with a picture if it is opened here, and in a worker."""
    lines = []
    for read in (open_image, lambda path: read_picture(path, 100)):
        with pytest.raises(VideoError) as caught:
            read(path)
        lines.append(str(caught.value))
    return lines


def peak_growth(setup: str, call: str) -> float:
    """By how much the peak memory of a process, in MB, grows when it makes a call."""
    code = f"""
from pathlib import Path
from PIL import Image
from longva_demo.video.picture import read_picture
from longva_demo.video.still import is_picture

def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))

Image.init()
{setup}
before = peak()
{call}
print((peak() - before) / 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def test_the_callers_memory_stays_small(tmp_path: Path) -> None:
    """12 kB that are 100 million pixels: 400 MB in RGB."""
    path = tmp_path / "bilevel.png"
    Image.new("1", (10_000, 10_000)).save(path)
    setup = "grids = [[336 * n, 336 * n] for n in range(2, 8)]"
    call = f"assert len(read_picture(Path({str(path)!r}), 1280, 336, grids).slots) == 50"
    assert peak_growth(setup, call) < 150


def tiff_header(path: Path) -> None:
    """A TIFF with 10 million strips."""
    number = 10_000_000
    width, height, bits, strips = (struct.pack("<HHII", *tag) for tag in (
        (256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (273, 4, number, 64),
    ))  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, 4) + width + height + bits + strips
    path.write_bytes(head.ljust(64, b"\0") + np.arange(number, dtype=np.uint32).tobytes())


def icon(path: Path) -> None:
    """An icon that is a PNG of 100 million pixels."""
    Image.new("1", (10_000, 10_000)).save(path, "PNG")
    data = path.read_bytes()
    path.write_bytes(struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 1, len(data), 22) + data)


def long_webp(path: Path) -> None:
    """A WebP with a chunk of 300 MB."""
    noise("RGB", 8, 8).save(path)
    data, size = path.read_bytes(), 300_000_000
    path.write_bytes(b"RIFF" + struct.pack("<I", len(data) + size) + data[8:] + b"JUNK" + struct.pack("<I", size))
    with path.open("r+b") as file:
        file.truncate(len(data) + 8 + size)  # a sparse file, which uses no disk space


@pytest.mark.parametrize(
    ("name", "write"), [("strips.tiff", tiff_header), ("large.ico", icon), ("long.webp", long_webp)]
)
def test_recognising_a_picture_takes_little_memory(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    assert peak_growth("", f"assert is_picture(Path({str(tmp_path / name)!r}))") < 20


def test_a_large_animation_is_not_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "long.webp"
    frames = [noise("RGB", 1000, 1000) for _ in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True, method=0)
    assert path.stat().st_size > 5_000_000
    assert not is_picture(path)


def test_an_mpeg_frame_is_not_an_icon(tmp_path: Path) -> None:
    """A picture start code, as in a stream that was cut before it."""
    (tmp_path / "a.m2v").write_bytes(bytes.fromhex("00000100000fffff80000001b5") + bytes(100))
    assert not is_picture(tmp_path / "a.m2v")


def endless_jpeg(path: Path) -> None:
    """64 million pixels whose last scan is repeated a thousand times; decoding takes minutes."""
    Image.new("RGB", (8000, 8000), "red").save(path, progressive=True)
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 1000 + data[-2:])


def test_an_endless_picture_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "endless.jpg"
    endless_jpeg(path)
    before, started = set(children()), time.monotonic()
    with pytest.raises(VideoError) as caught:
        read_picture(path, 100, limits=DecodeLimits(timeout_seconds=4.0))
    line = "endless.jpg: decoding took longer than 4 s and was stopped; save it as a smaller PNG or JPEG and try again"
    assert str(caught.value) == line
    assert time.monotonic() - started < 30
    assert set(children()) <= before


def test_a_crash_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "endless.jpg"
    endless_jpeg(path)
    before = set(children())

    def crash() -> None:
        while not (workers := set(children()) - before):
            time.sleep(0.01)
        os.kill(workers.pop(), signal.SIGSEGV)

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(VideoError) as caught:
        read_picture(path, 100)
    thread.join()
    line = "endless.jpg: the decoder crashed (signal SIGSEGV); save it as a smaller PNG or JPEG and try again"
    assert str(caught.value) == line
    noise("RGB", 40, 30).save(tmp_path / "next.png")
    assert read_picture(tmp_path / "next.png", 100).size == (40, 30)


def test_a_picture_that_needs_too_much_memory(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 5000)).save(tmp_path / "a.png")
    with pytest.raises(VideoError) as caught:
        read_picture(tmp_path / "a.png", 100, limits=DecodeLimits(memory_bytes=64 * MIB))
    line = (
        "a.png: decoding needs more than the 64 MB of memory allowed; raise the memory limit, or scale the picture down"
    )
    assert str(caught.value) == line


@pytest.mark.slow
def test_the_largest_transparent_picture_fits_the_memory_limit(tmp_path: Path) -> None:
    Image.new("RGBA", (10_000, 10_000), (255, 0, 0, 255)).save(tmp_path / "a.webp", lossless=True, method=0)
    picture = read_picture(tmp_path / "a.webp", 100, SIDE, PINPOINTS)
    assert picture.size == (10_000, 10_000)
    assert (picture.small == (255, 0, 0)).all()


def test_one_picture_is_opened_at_a_time(tmp_path: Path) -> None:
    noise("RGB", 40, 30).save(tmp_path / "a.png")
    before = set(children())

    def read() -> None:
        read_picture(tmp_path / "a.png", 100)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, len(set(children()) - before))
        time.sleep(0.002)
    assert most == 1
