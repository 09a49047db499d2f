"""How a still picture's file says that its colours are coded (ITU-T H.273), where it does."""

import struct
from collections.abc import Iterator
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
    """Of the primary item: others, such as a gain map, are coded in ways of their own.

    Where nothing is said of that, as of a picture in tiles or a film without items, it is the first in the file.
    """
    colours = primary_colours(head)
    if not colours and (place := head.find(b"colrnclx")) >= 0:
        colours = [head[place + 4 :]]
    for colour in colours:
        if colour[:4] == b"nclx" and len(colour) >= 8:
            return CodePoints(*struct.unpack_from(">HH", colour, 4))
    return None


def primary_colours(head: bytes) -> list[bytes]:
    """The contents of the boxes colr that belong to the primary item (ISO/IEC 14496-12, 8.11.4 and 8.11.14)."""
    meta = dict(boxes(dict(boxes(head)).get(b"meta", b"")[4:]))
    primary = meta.get(b"pitm", b"\0")
    item = primary[4 : 8 if primary[:1] > b"\0" else 6]
    described = list(boxes(meta.get(b"iprp", b"")))
    properties = list(boxes(dict(described).get(b"ipco", b"")))
    owned = [number for kind, data in described if kind == b"ipma" for number in owned_by(item, data)]
    of_item = [properties[number - 1] for number in owned if 0 < number <= len(properties)]
    return [data for kind, data in of_item if kind == b"colr"]


def owned_by(item: bytes, table: bytes) -> list[int]:
    """The numbers, from 1, of an item's properties in a box ipma; `item` is its number as the box pitm has it."""
    id_bytes = 4 if table[:1] > b"\0" else 2
    number_bytes = 2 if table[3:4] > b"\0" and table[3] & 1 else 1
    place = 8
    while place + id_bytes < len(table):
        number = table[place : place + id_bytes]
        start = place + id_bytes + 1
        place = start + table[start - 1] * number_bytes
        if int.from_bytes(number, "big") == int.from_bytes(item, "big"):
            essential = 1 << (8 * number_bytes - 1)
            each = range(start, min(place, len(table)), number_bytes)
            return [int.from_bytes(table[at : at + number_bytes], "big") & ~essential for at in each]
    return []


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and content of each box in `data`, as far as that goes."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        start = place + (16 if size == 1 else 8)
        if size == 1:
            size = int.from_bytes(data[place + 8 : start], "big")
        end = place + size if size else len(data)
        if end < start:
            return
        yield kind, data[start:end]
        place = end
