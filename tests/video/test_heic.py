"""Phone photos (HEIC): tiles are assembled, upright and on white, and they are never decoded as videos."""

import struct
from pathlib import Path

import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import probe
from longva_demo.video.code_points import CodePoints, from_boxes
from longva_demo.video.magic import has_movie
from longva_demo.video.still import image_size, is_picture, open_image
from tests.video.clips import numbered_picture, read_number
from tests.video.heif import Item, box, coded, full_box, grid, write_heic
from tests.video.test_orientation import corner_picture, corners_seen

TILE = 128


def tiled(picture: np.ndarray) -> list[Item]:
    """The items of a tiled picture, with the grid item last; padding is grey."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = np.full((rows * TILE, columns * TILE, 3), 128, dtype=np.uint8)
    padded[:height, :width] = picture
    tiles = [
        coded(padded[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE])
        for row in range(rows)
        for column in range(columns)
    ]
    for tile in tiles:
        tile.is_hidden = True
    return [*tiles, grid(rows, columns, width, height, list(range(1, len(tiles) + 1)))]


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_tiles_are_assembled(brand: bytes, tmp_path: Path) -> None:
    items = tiled(numbered_picture(1234))
    path = write_heic(tmp_path / "photo.heic", items, primary=len(items))
    data = path.read_bytes()
    path.write_bytes(data[:8] + brand + data[12:])
    assert is_picture(path)
    assert image_size(path) == (320, 240)
    picture = np.asarray(open_image(path))
    assert picture.shape == (240, 320, 3)
    assert read_number(picture) == 1234
    assert np.abs(picture.astype(int) - numbered_picture(1234)).mean() < 6


# Rotations are counterclockwise, in steps of 90 degrees. Mirror axis 0 swaps top and bottom, axis 1 left and right.
TURNS = {
    (1, None): ("TR", "BR", "TL", "BL"),
    (2, None): ("BR", "BL", "TR", "TL"),
    (3, None): ("BL", "TL", "BR", "TR"),
    (0, 0): ("BL", "BR", "TL", "TR"),
    (0, 1): ("TR", "TL", "BR", "BL"),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("is_tiled", [False, True])
def test_rotated_and_mirrored(is_tiled: bool, turn: tuple[int, int | None], tmp_path: Path) -> None:
    items = tiled(corner_picture(0)) if is_tiled else [coded(corner_picture(0))]
    quarter, axis = turn
    how = box(b"irot", bytes([quarter])) if axis is None else box(b"imir", bytes([axis]))
    items[-1].properties.append((how, True))
    path = write_heic(tmp_path / "photo.heic", items, primary=len(items))
    picture = np.asarray(open_image(path))
    assert picture.shape[:2] == ((320, 240) if quarter % 2 else (240, 320))
    assert image_size(path) == picture.shape[1::-1]
    assert corners_seen(picture) == TURNS[turn]


def test_transparency_is_white(tmp_path: Path) -> None:
    """The alpha channel is a separate item; a depth map is ignored."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    noise[120:] = (200, 40, 40)
    mask = np.zeros((240, 320), dtype=np.uint8)
    mask[120:] = 255
    items = [coded(noise), coded(mask), coded(mask[::-1])]
    for item, meaning in zip(items[1:], (b"auxid:1", b"auxid:2"), strict=True):
        item.properties.append((full_box(b"auxC", 0, 0, b"urn:mpeg:hevc:2015:" + meaning + b"\0"), True))
        item.references[b"auxl"] = [1]
        item.is_hidden = True
    picture = np.asarray(open_image(write_heic(tmp_path / "photo.heic", items))).astype(int)
    assert picture[:110].min() > 245
    assert np.abs(picture[130:] - (200, 40, 40)).max() < 12


def test_a_photo_is_not_a_video(tmp_path: Path) -> None:
    items = tiled(numbered_picture(1))
    path = write_heic(tmp_path / "photo.heic", items, primary=len(items))
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert str(caught.value) == "photo.heic is a picture (HEIC), not a video; ask about it as a picture"


def test_a_damaged_photo_is_rejected_in_one_line(tmp_path: Path) -> None:
    items = tiled(numbered_picture(1))
    path = write_heic(tmp_path / "photo.heic", items, primary=len(items))
    data = path.read_bytes()
    for broken in (data[:200], data[: len(data) // 2], data.replace(b"hvcC", b"none")):
        path.write_bytes(broken)
        assert is_picture(path)
        with pytest.raises(VideoError, match=r"photo\.heic cannot be read as a picture; upload a PNG or JPEG file"):
            open_image(path)


def test_hdr(tmp_path: Path) -> None:
    """A PQ photo: reference white, 203 cd/m², has the signal 0.58."""
    item = coded(np.full((64, 64, 3), round(0.58 * 255), dtype=np.uint8))
    item.properties.append((box(b"colr", b"nclx", struct.pack(">HHHB", 9, 16, 5, 0x80)), False))
    picture = np.asarray(open_image(write_heic(tmp_path / "photo.heic", [item])))
    assert 230 <= picture.min() <= picture.max() <= 250


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1, (1 << 63) - 1])
@pytest.mark.parametrize(("brand", "kind"), [(b"avif", "AVIF"), (b"heic", "HEIC")])
def test_an_impossible_box_size(brand: bytes, kind: str, size: int, tmp_path: Path) -> None:
    """A 64-bit size that no file has and that seek rejects."""
    path = tmp_path / "photo"
    path.write_bytes(box(b"ftyp", brand, bytes(4)) + struct.pack(">I4sQ", 1, b"free", size) + bytes(100))
    assert not has_movie(path)
    assert is_picture(path)
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert str(caught.value) == f"photo is a picture ({kind}), not a video; ask about it as a picture"


PQ_BOX, SRGB_BOX = (box(b"colr", b"nclx", struct.pack(">HHHB", *points, 0x80)) for points in ((9, 16, 5), (1, 13, 5)))
ICC_BOX = box(b"colr", b"prof", bytes(128))


@pytest.mark.parametrize(
    ("own", "other", "is_hdr"),
    [
        ([ICC_BOX], PQ_BOX, False),
        ([SRGB_BOX], PQ_BOX, False),
        ([PQ_BOX], SRGB_BOX, True),
        ([ICC_BOX, PQ_BOX], SRGB_BOX, True),
    ],
    ids=["profile", "sRGB", "PQ", "profile and PQ"],
)
def test_the_colours_are_those_of_the_primary_item(
    own: list[bytes], other: bytes, is_hdr: bool, tmp_path: Path
) -> None:
    """A gain map comes first in the file. If the photo is PQ, it is reference white, 203 cd/m²."""
    gain_map, photo = (coded(np.full((64, 64, 3), round(0.58 * 255), dtype=np.uint8)) for _ in range(2))
    gain_map.properties.append((other, False))
    gain_map.is_hidden = True
    photo.properties += [(colour, False) for colour in own]
    path = write_heic(tmp_path / "photo.heic", [gain_map, photo], primary=2)
    grey = np.asarray(open_image(path)).mean()
    assert grey == pytest.approx(240 if is_hdr else 148, abs=10)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("flags", [0, 1])
def test_all_forms_of_property_tables(flags: int, version: int) -> None:
    item, number = ">I" if version else ">H", ">H" if flags else ">B"
    mark = 0x8000 if flags else 0x80
    entries = [
        struct.pack(item, owner)
        + bytes([len(numbers)])
        + b"".join(struct.pack(number, each | mark) for each in numbers)
        for owner, numbers in ((1, [1]), (2, [3, 2]), (3, []))
    ]
    table = full_box(b"ipma", version, flags, struct.pack(">I", len(entries)), *entries)
    properties = box(b"iprp", box(b"ipco", PQ_BOX, ICC_BOX, SRGB_BOX), table)
    expected = {1: CodePoints(9, 16), 2: CodePoints(1, 13)}
    for owner, points in expected.items():
        primary = full_box(b"pitm", version, 0, struct.pack(item, owner))
        head = box(b"ftyp", b"heic") + full_box(b"meta", 0, 0, primary, properties)
        assert from_boxes(head) == points
        for length in range(len(head)):  # truncated at any position
            from_boxes(head[:length])
