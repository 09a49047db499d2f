"""A film that is nothing but one JPEG picture after another (.mjpeg), told from a single picture."""

import mmap
import os
import re
from pathlib import Path

from longva_demo.video.limits import MIB

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data: all but a stuffed byte, a restart and padding
FILLING = re.compile(rb"\x00*")
PICTURE = b"\xff\xd8\xff"
END, MULTI_PICTURE = 0xD9, 0xE2
FRAMES = {0xC0, 0xC1, 0xC2}
MAX_SEGMENTS = 10_000
MAX_PICTURE_BYTES = 16 * MIB  # of a film; the search for a picture's end lets no other thread run
WINDOW_BYTES = 3 * MAX_PICTURE_BYTES  # two pictures, and what lies between them


def is_jpeg_stream(path: Path) -> bool:
    """Whether a second picture of the same size follows at once.

    A camera's JPEG may hold others too (a preview, a map of brightness, the other eye's picture), but says so
    (CIPA DC-007, "MPF"), or they have other sizes.
    """
    with path.open("rb") as file:
        if file.read(3) != PICTURE:
            return False
        mapped_bytes = min(os.fstat(file.fileno()).st_size, WINDOW_BYTES)  # a worker cannot map any large film
        with mmap.mmap(file.fileno(), mapped_bytes, access=mmap.ACCESS_READ) as data:
            size, end = read_picture(data, 0)
            if not size:
                return False
            filled = FILLING.match(data, end)  # some writers fill up
            end = filled.end() if filled else end
            return data[end : end + 3] == PICTURE and read_picture(data, end)[0] == size


def read_picture(data: mmap.mmap, start: int) -> tuple[bytes, int]:
    """Return (height and width as stored, the end) of the JPEG at `start`; no size for a camera's, or a torn one."""
    place, size = start + 2, b""
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(data, place, start + MAX_PICTURE_BYTES)
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
