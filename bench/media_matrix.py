"""Display matrices of MP4 and QuickTime files: how a player turns or mirrors the pictures."""

import struct
from pathlib import Path

# a, b, c, d of ISO/IEC 14496-12, 8.3.2: the picture's x goes to (a, b), its y to (c, d).
MATRICES = (
    (-1, 0, 0, 1),  # mirrored
    (1, 0, 0, -1),  # upside down, mirrored
    (0, 1, 1, 0),  # rows and columns exchanged
    (-1, 0, 0, -1),  # half a turn
    (0, -1, -1, 0),  # rows and columns exchanged, half a turn
)


def set_matrix(path: Path, matrix: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Write the matrix into the first track's header; False where the file has none."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd")
    if place < 0:
        return False
    a, b, c, d = (value * 0x10000 for value in matrix)
    x = -min(a * size[0] + c * size[1], 0) if min(matrix) < 0 else 0
    y = -min(b * size[0] + d * size[1], 0) if min(matrix) < 0 else 0
    start = place + 4 + (52 if data[place + 4] else 40)  # version 1 has times of 64 bits
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, x, y, 0x40000000)
    path.write_bytes(data)
    return True
