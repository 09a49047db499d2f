"""Tell a raw stream of JPEG frames (.mjpeg) from a single JPEG picture."""

import mmap
import os
import re
from pathlib import Path

from longva_demo.video.limits import MIB

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # within coded data: not a stuffed byte, a restart or padding
PADDING = re.compile(rb"\x00*")
START_OF_IMAGE = b"\xff\xd8\xff"
END_OF_IMAGE, APP2 = 0xD9, 0xE2
START_OF_FRAME = {0xC0, 0xC1, 0xC2}
MAX_SEGMENTS = 10_000
MAX_FRAME_BYTES = 16 * MIB  # the search for the end of a frame holds the GIL
WINDOW_BYTES = 3 * MAX_FRAME_BYTES  # two frames and the bytes between them


def is_jpeg_stream(path: Path) -> bool:
    """Whether a second JPEG of the same size directly follows the first.

    A camera's JPEG may also contain more images (a preview, a gain map, the second view of a stereo pair), but it
    declares them (CIPA DC-007, "MPF"), or they differ in size.
    """
    with path.open("rb") as file:
        if file.read(3) != START_OF_IMAGE:
            return False
        # Mapping all of a large file would exceed the worker's memory limit.
        mapped_bytes = min(os.fstat(file.fileno()).st_size, WINDOW_BYTES)
        with mmap.mmap(file.fileno(), mapped_bytes, access=mmap.ACCESS_READ) as data:
            size, end = read_picture(data, 0)
            if not size:
                return False
            padding = PADDING.match(data, end)  # some writers pad each frame
            end = padding.end() if padding else end
            return data[end : end + 3] == START_OF_IMAGE and read_picture(data, end)[0] == size


def read_picture(data: mmap.mmap, start: int) -> tuple[bytes, int]:
    """Return (height and width as stored, end offset) of the JPEG at `start`. Size b"" for MPF or truncated files."""
    offset, size = start + 2, b""
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(data, offset, start + MAX_FRAME_BYTES)
        if found is None:
            break
        kind, offset = data[found.start() + 1], found.end()
        if kind == END_OF_IMAGE:
            return size, offset
        length = int.from_bytes(data[offset : offset + 2], "big")
        if kind == APP2 and data[offset + 2 : offset + 6] == b"MPF\0":
            break
        if kind in START_OF_FRAME:
            size = data[offset + 3 : offset + 7]
        offset += length
    return b"", offset
