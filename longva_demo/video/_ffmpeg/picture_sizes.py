"""Whether a packet begins pictures of another size, told from its first bytes. Runs in the worker."""

import re
from collections.abc import Iterator

import av

START_CODE = re.compile(rb"\x00\x00\x01")
MPEG_HEADER = re.compile(rb"\x00\x00\x01(?:\xb3.{7}|[\x20-\x2f].{16})", re.DOTALL)  # MPEG-1, -2: sequence; -4: layer
JPEG_HEADER = re.compile(rb"\xff[\xc0-\xc2]..(.{5})", re.DOTALL)  # start of frame: precision, height, width
SIZE_BYTES = {"vp8": slice(3, 10), "vp9": slice(0, 9)}  # RFC 6386, 9.1; VP9 bitstream specification, 6.2
HEAD_BYTES = 4096
SPS = {"h264": (0x1F, 0, 7), "hevc": (0x3F, 1, 33)}  # mask, shift and value of a parameter set's type in its first byte
AV1_SEQUENCE = 1


def size_mark(codec: str, extradata: bytes, packet: av.Packet) -> bytes:
    """What a key packet says of its pictures' size, undecoded; empty where it says nothing, or where we cannot tell.

    `codec` is FFmpeg's canonical name. Pictures of another size have another mark; the opposite need not hold.
    """
    mark = b""
    if packet.has_sidedata("new_extradata"):  # an MP4 with several sample descriptions
        mark = bytes(packet.get_sidedata("new_extradata"))
    data = memoryview(packet)
    if codec in SIZE_BYTES:
        return mark + bytes(data[SIZE_BYTES[codec]])
    head = bytes(data[:HEAD_BYTES])
    if codec in SPS:
        mask, shift, kind = SPS[codec]
        units = filter(None, nal_units(codec, extradata, head))  # two start codes may touch
        return mark + b"".join(unit for unit in units if unit[0] >> shift & mask == kind)
    if codec == "av1":
        return mark + b"".join(sequence_headers(head))
    pattern = JPEG_HEADER if codec == "mjpeg" else MPEG_HEADER
    found = pattern.search(head) if codec in ("mjpeg", "mpeg1video", "mpeg2video", "mpeg4") else None
    return mark + (found.group() if found else b"")


def nal_units(codec: str, extradata: bytes, data: bytes) -> Iterator[bytes]:
    """The first units of an H.264 or HEVC packet; before each is its length (ISO/IEC 14496-15) or a start code."""
    if extradata[:1] != b"\1":
        places = [found.end() for found in START_CODE.finditer(data)]
        yield from (data[start : end - 3] for start, end in zip(places, [*places[1:], len(data) + 3], strict=True))
        return
    place = 4 if codec == "h264" else 21
    length_bytes = (extradata[place] & 3) + 1 if len(extradata) > place else 4
    start = 0
    while start + length_bytes < len(data):
        end = start + length_bytes + int.from_bytes(data[start : start + length_bytes], "big")
        if end == start + length_bytes:
            return
        yield data[start + length_bytes : end]
        start = end


def sequence_headers(data: bytes) -> Iterator[bytes]:
    """AV1: the sequence headers among the first units (AV1 specification, 5.3 and 4.10.5)."""
    start = 0
    while start < len(data):
        kind, has_extension, has_size = data[start] >> 3 & 15, data[start] >> 2 & 1, data[start] >> 1 & 1
        place = start + 1 + has_extension
        size = 0
        for number in range(8 if has_size else 0):
            if place >= len(data):
                return
            size |= (data[place] & 0x7F) << (7 * number)
            place += 1
            if not data[place - 1] & 0x80:
                break
        end = place + size if has_size else len(data)
        if kind == AV1_SEQUENCE:
            yield data[place:end]
        start = max(end, start + 1)
