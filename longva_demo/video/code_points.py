"""How a still picture's file says that its colours are coded (ITU-T H.273), where it does."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 1 << 20  # of an AVIF or HEIC file; its description comes first
MAX_CHUNKS = 1000


@dataclass(frozen=True)
class CodePoints:
    """Numbers of H.273: colour primaries and transfer characteristics."""

    primaries: int
    transfer: int


def code_points(path: Path, picture_format: str) -> CodePoints | None:
    """Of a PNG (chunk cICP), an AVIF or a HEIC (box colr of kind nclx); None where the file does not say."""
    with path.open("rb") as file:
        if picture_format == "PNG":
            return from_png(file)
        if picture_format in ("AVIF", "HEIF"):
            return from_boxes(file.read(HEAD_BYTES))
    return None


def from_png(file: BinaryIO) -> CodePoints | None:
    file.seek(8)
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return None
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] == b"cICP":
            data = file.read(4)
            return CodePoints(data[0], data[1]) if len(data) == 4 else None
        file.seek(length + 4, 1)
    return None


def from_boxes(head: bytes) -> CodePoints | None:
    place = head.find(b"colrnclx")
    if place < 0 or len(head) < place + 12:
        return None
    return CodePoints(*struct.unpack_from(">HH", head, place + 8))
