"""A film that is nothing but one JPEG picture after another (.mjpeg), told from a single picture."""

import mmap
import re
from pathlib import Path

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data: all but a stuffed byte, a restart and padding
PICTURE = b"\xff\xd8\xff"
END, MULTI_PICTURE = 0xD9, 0xE2
FRAMES = {0xC0, 0xC1, 0xC2}
MAX_SEGMENTS = 10_000


def is_jpeg_stream(path: Path) -> bool:
    """Whether a second picture of the same size follows at once.

    A camera's JPEG may hold others too (a preview, a map of brightness, the other eye's picture), but says so
    (CIPA DC-007, "MPF"), or they have other sizes.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:3] != PICTURE:
            return False
        size, end = read_picture(data, 0)
        while size and data[end : end + 1] == b"\0":
            end += 1  # some writers fill up
        return bool(size) and data[end : end + 3] == PICTURE and read_picture(data, end)[0] == size


def read_picture(data: mmap.mmap, start: int) -> tuple[bytes, int]:
    """Return (height and width as stored, the end) of the JPEG at `start`; no size for a camera's, or a torn one."""
    place, size = start + 2, b""
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(data, place)
        if found is None:
            break
        kind, place = data[found.start() + 1], found.end()
        if kind == END:
            return size, place
        length = int.from_bytes(data[place : place + 2], "big")
        if kind == MULTI_PICTURE and data[place + 2 : place + 6] == b"MPF\0":
            break
        if kind in FRAMES:
            size = data[place + 3 : place + 7]
        place += length
    return b"", place
