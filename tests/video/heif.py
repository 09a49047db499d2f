"""Write HEIC pictures as phones do, with tiles, rotation and transparency (ISO/IEC 23008-12)."""

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", len(data) + 8, kind) + data


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


@dataclass
class Item:
    """kind: hvc1 or grid. properties: (box, whether it is essential)."""

    kind: bytes
    data: bytes
    properties: list[tuple[bytes, bool]]
    references: dict[bytes, list[int]] = field(default_factory=dict)
    is_hidden: bool = False


def coded(picture: np.ndarray) -> Item:
    """uint8 (height, width, 3), or (height, width) for an alpha channel, as an HEVC item."""
    height, width = picture.shape[:2]
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.time_base = width, height, Fraction(1)
    encoder.pix_fmt = "yuv444p" if picture.ndim == 3 else "gray"
    encoder.options = {"crf": "2", "x265-params": "log-level=none:range=full"}
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if picture.ndim == 3 else "gray")
    frame = frame.reformat(format=encoder.pix_fmt, dst_colorspace="ITU601", dst_color_range="JPEG")
    frame.pts = 0
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    units = [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1")[1:]]
    data = b"".join(struct.pack(">I", len(unit)) + unit for unit in units if unit[0] >> 1 < 32)
    hvcc = box(b"hvcC", decoder_configuration(units, chroma=3 if picture.ndim == 3 else 0))
    return Item(b"hvc1", data, [(hvcc, True), (extent(width, height), False)])


def decoder_configuration(units: list[bytes], chroma: int) -> bytes:
    """HEVCDecoderConfigurationRecord, ISO/IEC 14496-15, 8.3.3.1, from the parameter sets among the units."""
    sets = {kind: next(unit for unit in units if unit[0] >> 1 == kind) for kind in (32, 33, 34)}
    profile = sets[33].replace(b"\0\0\3", b"\0\0")[3:15]
    arrays = b"".join(struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit for kind, unit in sets.items())
    rest = bytes([0xF0, 0, 0xFC, 0xFC | chroma, 0xF8, 0xF8, 0, 0, 0x0F, len(sets)])
    return b"\1" + profile + rest + arrays


def extent(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, 0, struct.pack(">II", width, height))


def grid(rows: int, columns: int, width: int, height: int, tiles: list[int]) -> Item:
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    return Item(b"grid", data, [(extent(width, height), False)], {b"dimg": tiles})


def write_heic(path: Path, items: list[Item], primary: int = 1) -> Path:
    """Write items, numbered from 1."""
    properties: list[bytes] = []
    associations, infos, references = [], [], []
    for number, item in enumerate(items, 1):
        marks = []
        for data, is_essential in item.properties:
            if data not in properties:
                properties.append(data)
            marks.append((properties.index(data) + 1) | (0x80 if is_essential else 0))
        associations.append(struct.pack(">HB", number, len(marks)) + bytes(marks))
        infos.append(full_box(b"infe", 2, int(item.is_hidden), struct.pack(">HH4s", number, 0, item.kind), b"\0"))
        for kind, targets in item.references.items():
            references.append(box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets)))
    kinds = full_box(b"iinf", 0, 0, struct.pack(">H", len(items)), *infos)
    owned = full_box(b"ipma", 0, 0, struct.pack(">I", len(items)), *associations)

    def meta(start: int) -> bytes:
        positions, at = [], start
        for number, item in enumerate(items, 1):
            positions.append(struct.pack(">HHHII", number, 0, 1, at, len(item.data)))
            at += len(item.data)
        return full_box(
            b"meta", 0, 0,
            full_box(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, 0, struct.pack(">H", primary)),
            full_box(b"iloc", 0, 0, b"\x44\0", struct.pack(">H", len(items)), *positions),
            kinds,
            box(b"iprp", box(b"ipco", *properties), owned),
            full_box(b"iref", 0, 0, *references) if references else b"",
        )  # fmt: skip

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(start) + box(b"mdat", *(item.data for item in items)))
    return path
