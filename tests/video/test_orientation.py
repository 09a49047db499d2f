"""Display matrices: eight orientations, other angles, and singular ones."""

import struct
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from longva_demo.video import decode_frames, make_preview, plan_frames, probe
from longva_demo.video._ffmpeg.orientation import from_matrix
from tests.video.clips import find_box, numbered_picture, write_clip

ONE = 1 << 16
# (a, b, c, d) → the stored corners displayed at the top left, top right, bottom left and bottom right.
UPRIGHT = ("TL", "TR", "BL", "BR")
SEEN = {
    (1, 0, 0, 1): UPRIGHT,
    (0, 1, -1, 0): ("BL", "TL", "BR", "TR"),
    (-1, 0, 0, -1): ("BR", "BL", "TR", "TL"),
    (0, -1, 1, 0): ("TR", "BR", "TL", "BL"),
    (-1, 0, 0, 1): ("TR", "TL", "BR", "BL"),
    (1, 0, 0, -1): ("BL", "BR", "TL", "TR"),
    (0, 1, 1, 0): ("TL", "BL", "TR", "BR"),
    (0, -1, -1, 0): ("BR", "TR", "BL", "TL"),
    (0, 0, 0, 0): UPRIGHT,
}
OTHERS = {
    (2, 0, 0, 2): UPRIGHT,
    (0.5, 0, 0, 1): UPRIGHT,
    (0.94, 0.34, -0.34, 0.94): UPRIGHT,  # 20 degrees
    (0.17, 0.98, -0.98, 0.17): ("BL", "TL", "BR", "TR"),  # 80 degrees
    (-0.17, 0.98, 0.98, 0.17): ("TL", "BL", "TR", "BR"),  # mirrored, at 100 degrees
    (1, 0, 0, 0): UPRIGHT,
    (1, 1, 1, 1): UPRIGHT,
}
COLOURS = {"TL": (220, 40, 40), "TR": (40, 180, 60), "BL": (40, 80, 220), "BR": (230, 210, 50)}


def write_corners(path: Path, matrix: tuple[float, ...]) -> Path:
    """A clip with one colour in each corner, and a, b, c, d in its track's matrix."""
    write_clip(path, 4, pictures=corner_picture)
    data = bytearray(path.read_bytes())
    a, b, c, d = (round(number * ONE) for number in matrix)
    start = find_box(bytes(data), b"tkhd") + 40
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def corner_picture(number: int) -> np.ndarray:
    picture = numbered_picture(number)
    height, width = picture.shape[:2]
    for name, colour in COLOURS.items():
        rows = slice(0, height // 3) if name[0] == "T" else slice(-height // 3, None)
        picture[rows, slice(0, width // 3) if name[1] == "L" else slice(-width // 3, None)] = colour
    return picture


def corners_seen(picture: np.ndarray) -> tuple[str, ...]:
    height, width = picture.shape[:2]
    near = [picture[y, x].astype(int) for y in (12, height - 12) for x in (12, width - 12)]
    return tuple(min(COLOURS, key=lambda name: np.abs(pixel - COLOURS[name]).sum()) for pixel in near)


def is_sideways(matrix: tuple[float, ...]) -> bool:
    """Whether the corners displayed at the top are on the same stored side."""
    first, second = SEEN[matrix][:2]
    return first[1] == second[1]


@pytest.mark.parametrize("matrix", SEEN)
def test_frames_match_a_player(matrix: tuple[float, ...], tmp_path: Path) -> None:
    path = write_corners(tmp_path / "clip.mp4", matrix)
    info = probe(path)
    assert (info.width, info.height) == ((240, 320) if is_sideways(matrix) else (320, 240))
    batch = next(decode_frames(path, plan_frames(info, 1), info=info))
    assert corners_seen(batch.pixels[0]) == SEEN[matrix]


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (0, -1, -1, 0)])
def test_the_preview_is_upright(matrix: tuple[float, ...], tmp_path: Path) -> None:
    path = write_corners(tmp_path / "clip.mp4", matrix)
    info = probe(path)
    for _ in make_preview(path, tmp_path / "preview.mp4", info):
        pass
    preview = probe(tmp_path / "preview.mp4")
    assert (preview.rotation, preview.is_mirrored) == (0, False)
    batch = next(decode_frames(preview.path, plan_frames(preview, 1), info=preview))
    assert corners_seen(batch.pixels[0]) == SEEN[matrix]


def test_other_matrices_map_to_the_nearest_orientation() -> None:
    picture = np.array([["TL", "TR"], ["BL", "BR"]])
    for matrix, seen in OTHERS.items():
        a, b, c, d = (round(number * ONE) for number in matrix)
        assert tuple(from_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)).apply(picture).ravel()) == seen, matrix


def test_decord_agrees(tmp_path: Path) -> None:
    """decord applies the matrix's angle only; we correct its output."""
    pytest.importorskip("decord")
    for matrix in list(SEEN)[:8]:
        path = write_corners(tmp_path / "clip.mp4", matrix)
        info = probe(path, decoder="decord")
        batch = next(decode_frames(path, plan_frames(info, 1), info=info, decoder="decord"))
        assert corners_seen(batch.pixels[0]) == SEEN[matrix], matrix


def test_undo_inverts_apply() -> None:
    picture = np.arange(6).reshape(2, 3)
    for a, b, c, d in list(SEEN)[:8]:
        orientation = from_matrix((int(a), int(b), 0, int(c), int(d), 0, 0, 0, 1))
        shown = orientation.apply(picture)
        # The pixel (x, y) is displayed at a·x + c·y, b·x + d·y, relative to the corner displayed at the top left.
        positions = [(a * x + c * y, b * x + d * y) for y, x in np.ndindex(2, 3)]
        left, top = (min(numbers) for numbers in zip(*positions, strict=True))
        for value, (x, y) in zip(chain.from_iterable(picture.tolist()), positions, strict=True):
            assert shown[int(y - top), int(x - left)] == value
        assert np.array_equal(orientation.undo(shown), picture)
