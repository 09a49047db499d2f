"""Colour coding of a still picture (ITU-T H.273), read from its file."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 1 << 20  # of an AVIF or HEIC file; the metadata comes first
MAX_CHUNKS = 1000


@dataclass(frozen=True)
class CodePoints:
    """H.273 code points: colour primaries and transfer characteristics."""

    primaries: int
    transfer: int


def code_points(path: Path, picture_format: str) -> CodePoints | None:
    """Read a PNG's cICP chunk, or the nclx colr box of an AVIF or HEIC. None if the file has neither."""
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
    """Read the primary item's colr box; other items, such as a gain map, may be coded differently.

    If the primary item has none (a tiled picture, an animation without items), use the first one in the file.
    """
    colours = primary_colours(head)
    if not colours and (offset := head.find(b"colrnclx")) >= 0:
        colours = [head[offset + 4 :]]
    for colour in colours:
        if colour[:4] == b"nclx" and len(colour) >= 8:
            return CodePoints(*struct.unpack_from(">HH", colour, 4))
    return None


def primary_colours(head: bytes) -> list[bytes]:
    """Contents of the primary item's colr boxes (ISO/IEC 14496-12, 8.11.4 and 8.11.14)."""
    meta = dict(boxes(dict(boxes(head)).get(b"meta", b"")[4:]))
    primary = meta.get(b"pitm", b"\0")
    item = primary[4 : 8 if primary[:1] > b"\0" else 6]
    described = list(boxes(meta.get(b"iprp", b"")))
    properties = list(boxes(dict(described).get(b"ipco", b"")))
    owned = [number for kind, data in described if kind == b"ipma" for number in property_numbers(item, data)]
    of_item = [properties[number - 1] for number in owned if 0 < number <= len(properties)]
    return [data for kind, data in of_item if kind == b"colr"]


def property_numbers(item: bytes, table: bytes) -> list[int]:
    """The 1-based numbers of an item's properties, from an ipma box. `item` is its id as encoded in the pitm box."""
    id_bytes = 4 if table[:1] > b"\0" else 2
    number_bytes = 2 if table[3:4] > b"\0" and table[3] & 1 else 1
    offset = 8
    while offset + id_bytes < len(table):
        number = table[offset : offset + id_bytes]
        start = offset + id_bytes + 1
        offset = start + table[start - 1] * number_bytes
        if int.from_bytes(number, "big") == int.from_bytes(item, "big"):
            essential = 1 << (8 * number_bytes - 1)
            each = range(start, min(offset, len(table)), number_bytes)
            return [int.from_bytes(table[at : at + number_bytes], "big") & ~essential for at in each]
    return []


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and content of each box in `data`, up to the first invalid one."""
    offset = 0
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        start = offset + (16 if size == 1 else 8)
        if size == 1:
            size = int.from_bytes(data[offset + 8 : start], "big")
        end = offset + size if size else len(data)
        if end < start:
            return
        yield kind, data[start:end]
        offset = end
