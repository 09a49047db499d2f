"""Display matrices of MP4 and QuickTime files: how a player rotates or mirrors frames."""

import struct
from pathlib import Path

# a, b, c, d of ISO/IEC 14496-12, 8.3.2: the x axis of a frame maps to (a, b), its y axis to (c, d).
MATRICES = (
    (-1, 0, 0, 1),  # mirrored
    (1, 0, 0, -1),  # flipped vertically
    (0, 1, 1, 0),  # transposed
    (-1, 0, 0, -1),  # rotated by 180°
    (0, -1, -1, 0),  # transposed and rotated by 180°
)


def set_matrix(path: Path, matrix: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Write the matrix into the first track's header. Returns False if the file has none."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd")
    if place < 0:
        return False
    a, b, c, d = (value * 0x10000 for value in matrix)
    x = -min(a * size[0] + c * size[1], 0) if min(matrix) < 0 else 0
    y = -min(b * size[0] + d * size[1], 0) if min(matrix) < 0 else 0
    start = place + 4 + (52 if data[place + 4] else 40)  # version 1 has 64-bit times
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, x, y, 0x40000000)
    path.write_bytes(data)
    return True
