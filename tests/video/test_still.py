"""Still pictures: headers, decoding, orientation, and the limits on bytes and time."""

import struct
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, ExifTags, Image, PngImagePlugin

from longva_demo.errors import VideoError
from longva_demo.video import still
from longva_demo.video.still import MAX_PICTURE_BYTES, PictureFile, image_size, is_picture, open_image

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of bytes that each read returned."""
    counted: list[int] = []

    class Counted(PictureFile):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            counted.append(len(data))
            return data

    monkeypatch.setattr(still, "PictureFile", Counted)
    return counted


def error_line(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        open_image(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.avif", "a.bmp", "a.tiff", "a.ppm", "a.pgm", "a.ico"]
)
def test_common_formats_are_pictures(name: str, tmp_path: Path) -> None:
    NOISE.save(tmp_path / name)
    assert is_picture(tmp_path / name)
    with Image.open(tmp_path / name) as expected:
        assert np.array_equal(open_image(tmp_path / name), expected.convert("RGB"))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.avif"])
def test_animations_are_not_pictures(name: str, tmp_path: Path) -> None:
    NOISE.save(tmp_path / name, save_all=True, append_images=[NOISE.rotate(90), NOISE.rotate(180)])
    assert not is_picture(tmp_path / name)


def test_only_the_start_of_a_long_gif_is_read(tmp_path: Path, reads: list[int]) -> None:
    frames = [Image.new("L", (1, 1), shade % 256) for shade in range(500)]
    frames[0].save(tmp_path / "long.gif", save_all=True, append_images=frames[1:], optimize=False)
    assert not is_picture(tmp_path / "long.gif")
    assert len(reads) < 100


def test_a_truncated_gif(tmp_path: Path) -> None:
    """One that is cut within its second frame is passed to the video worker."""
    NOISE.convert("L").save(tmp_path / "a.gif", save_all=True, append_images=[NOISE.convert("L").rotate(90)])
    data = (tmp_path / "a.gif").read_bytes()
    second = data.index(b"\x21\xf9", 1000)
    found = []
    for length in range(second, second + 24):
        (tmp_path / "a.gif").write_bytes(data[:length])
        found.append(is_picture(tmp_path / "a.gif"))
    assert (found[0], found[-1]) == (True, False)


@pytest.mark.parametrize("name", ["a.webp", "a.avif"])
def test_a_too_large_file_is_rejected_before_it_is_read(name: str, tmp_path: Path, reads: list[int]) -> None:
    NOISE.save(tmp_path / name)
    with (tmp_path / name).open("r+b") as file:
        file.truncate(MAX_PICTURE_BYTES + 10**8)  # a sparse file, which uses no disk space
    assert is_picture(tmp_path / name)
    assert error_line(tmp_path / name) == (
        f"{name} is 500 MB, above the limit of 400 MB for a picture; scale it down or save it as JPEG"
    )
    assert sum(reads) < 100


def private_chunk(path: Path) -> None:
    """A PNG with a private chunk of 200 kB."""
    NOISE.save(path, "PNG")
    data, kind = path.read_bytes(), b"noTe" + bytes(200_000)
    piece = struct.pack(">I", len(kind) - 4) + kind + struct.pack(">I", zlib.crc32(kind))
    path.write_bytes(data[:33] + piece + data[33:])


def comments(path: Path) -> None:
    """A JPEG with 50,000 empty comments."""
    NOISE.save(path, "JPEG")
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xfe\0\2" * 50_000 + data[2:])


@pytest.mark.parametrize("write", [private_chunk, comments])
def test_data_before_the_picture_counts_against_the_limit(
    write: Callable[[Path], None], tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a")
    assert open_image(tmp_path / "a").size == (64, 48)
    reads.clear()
    monkeypatch.setattr(still, "MAX_PICTURE_BYTES", 100_000)
    monkeypatch.setattr(still, "MAX_HEADER_BYTES", 100_000)
    assert is_picture(tmp_path / "a")
    assert sum(reads) <= 100_000


def test_reading_has_a_time_limit(tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    comments(tmp_path / "a.jpg")
    clock = count()
    monkeypatch.setattr(still.time, "thread_time", lambda: next(clock))
    assert is_picture(tmp_path / "a.jpg")
    assert error_line(tmp_path / "a.jpg") == "a.jpg cannot be read as a picture; upload a PNG or JPEG file"
    assert len(reads) <= 2 * still.MAX_READING_SECONDS


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: started.append(given))
    NOISE.save(tmp_path / "a.eps")
    assert not is_picture(tmp_path / "a.eps")
    assert error_line(tmp_path / "a.eps") == "a.eps cannot be read as a picture; upload a PNG or JPEG file"
    assert started == []


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "avif"])
def test_the_header_gives_the_size_of_the_upright_picture(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"picture.{ending}"
    Image.new("RGB", (90, 40), "red").save(path, exif=exif)
    assert image_size(path) == open_image(path).size == ((40, 90) if orientation in (6, 8) else (90, 40))


PROPERTIES = (b"ispe", b"pixi", b"av1C", b"colr")  # of a plain AVIF
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("ending", ["webp", "jpg", "avif", "png"])
def test_orientations_that_browsers_ignore_are_ignored(tmp_path: Path, ending: str) -> None:
    """Chromium and Firefox ignore orientations in XMP, and all orientations in a WebP."""
    path = tmp_path / f"picture.{ending}"
    pieces = PngImagePlugin.PngInfo()
    pieces.add_itxt("XML:com.adobe.xmp", XMP.decode())
    exif = Image.Exif()
    if ending == "webp":
        exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (90, 40), "red").save(path, xmp=XMP, pnginfo=pieces, exif=exif)
    assert image_size(path) == open_image(path).size == (90, 40)


@pytest.mark.parametrize("kind", [b"mdcv", b"clli"])
def test_an_avif_with_essential_hdr_metadata(kind: bytes, tmp_path: Path) -> None:
    """Pillow rejects a picture with an unknown essential property; FFmpeg does not."""
    path = tmp_path / "hdr.avif"
    Image.new("RGB", (96, 64), (200, 40, 40)).save(path, quality=95)
    data = bytearray(path.read_bytes())
    box = struct.pack(">I4s", 32, kind) + bytes(24)
    positions = {name: data.index(name) - 4 for name in (b"meta", b"iprp", b"ipco", b"ipma", b"iloc")}
    number = 1 + sum(data[positions[b"ipco"] : positions[b"ipma"]].count(name) for name in PROPERTIES)
    payload = struct.pack(">I", data.index(b"mdat") + 4)  # its offset in iloc
    offset = data.index(payload, positions[b"iloc"])
    struct.pack_into(">I", data, offset, data.index(b"mdat") + 4 + len(box) + 1)
    counted = positions[b"ipma"] + 18
    data[counted] += 1
    data.insert(counted + data[counted], 0x80 | number)
    data[positions[b"ipma"] : positions[b"ipma"]] = box
    grown = {b"ipma": 1, b"ipco": len(box), b"iprp": len(box) + 1, b"meta": len(box) + 1}
    for name, more in grown.items():
        position = data.index(name) - 4
        struct.pack_into(">I", data, position, struct.unpack_from(">I", data, position)[0] + more)
    path.write_bytes(data)
    assert is_picture(path)
    picture = np.asarray(open_image(path))
    assert picture.shape == (64, 96, 3)
    assert np.abs(picture.astype(int) - (200, 40, 40)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations(tmp_path: Path, orientation: int) -> None:
    """An EXIF orientation says on which sides the first row and column of the stored picture are displayed."""
    first_row, first_column = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[orientation]  # fmt: skip
    stored = np.zeros((40, 90, 3), dtype=np.uint8)
    stored[:, :4, 1] = 200
    stored[:4, :, 0] = 200
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    seen = np.asarray(open_image(tmp_path / "a.png"))
    sides = {"top": seen[0], "bottom": seen[-1], "left": seen[:, 0], "right": seen[:, -1]}
    assert (sides[first_row][:, 0] == 200).all()
    assert (sides[first_column][:, 1] == 200).all()


def test_a_truncated_picture_has_a_size_but_cannot_be_opened(tmp_path: Path) -> None:
    for ending in ("jpg", "png"):
        path = tmp_path / f"picture.{ending}"
        Image.effect_noise((90, 40), 100).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert image_size(path) == (90, 40)
        with pytest.raises(VideoError, match="cannot be read as a picture"):
            open_image(path)
    path.write_bytes(b"not a picture")
    for use in (image_size, open_image):
        with pytest.raises(VideoError, match="cannot be read as a picture"):
            use(path)
        with pytest.raises(VideoError, match="does not exist"):
            use(tmp_path / "none.png")


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0nothing", b"Exif\0\0garbage", b"Exif\0\0"])
def test_damaged_exif_is_ignored(exif: bytes, tmp_path: Path) -> None:
    NOISE.save(tmp_path / "a.jpg", exif=exif)
    NOISE.save(tmp_path / "plain.jpg")
    assert np.array_equal(open_image(tmp_path / "a.jpg"), open_image(tmp_path / "plain.jpg"))
