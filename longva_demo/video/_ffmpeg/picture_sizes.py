"""Detect changes of the frame size from the first bytes of packets. Runs in the worker."""

import re
from collections.abc import Iterator

import av

START_CODE = re.compile(rb"\x00\x00\x01")
MPEG_HEADER = re.compile(rb"\x00\x00\x01(?:\xb3.{7}|[\x20-\x2f].{16})", re.DOTALL)  # MPEG-1, -2: sequence; -4: layer
JPEG_HEADER = re.compile(rb"\xff[\xc0-\xc2]..(.{5})", re.DOTALL)  # start of frame: precision, height, width
SIZE_BYTES = {"vp8": slice(3, 10), "vp9": slice(0, 9)}  # RFC 6386, 9.1; VP9 bitstream specification, 6.2
HEAD_BYTES = 4096
SPS = {"h264": (0x1F, 0, 7), "hevc": (0x3F, 1, 33)}  # mask, shift and value of the SPS type in a NAL unit's first byte
AV1_SEQUENCE = 1


def size_signature(codec: str, extradata: bytes, packet: av.Packet) -> bytes:
    """The bytes of a key packet that contain the frame size, undecoded; empty if there are none or they are unknown.

    `codec` is FFmpeg's canonical name. A different size means a different signature; the converse need not hold.
    """
    signature = b""
    if packet.has_sidedata("new_extradata"):  # an MP4 with several sample descriptions
        signature = bytes(packet.get_sidedata("new_extradata"))
    data = memoryview(packet)
    if codec in SIZE_BYTES:
        return signature + bytes(data[SIZE_BYTES[codec]])
    head = bytes(data[:HEAD_BYTES])
    if codec in SPS:
        mask, shift, kind = SPS[codec]
        units = filter(None, nal_units(codec, extradata, head))  # two start codes may be adjacent
        return signature + b"".join(unit for unit in units if unit[0] >> shift & mask == kind)
    if codec == "av1":
        return signature + b"".join(sequence_headers(head))
    pattern = JPEG_HEADER if codec == "mjpeg" else MPEG_HEADER
    found = pattern.search(head) if codec in ("mjpeg", "mpeg1video", "mpeg2video", "mpeg4") else None
    return signature + (found.group() if found else b"")


def nal_units(codec: str, extradata: bytes, data: bytes) -> Iterator[bytes]:
    """The first NAL units of an H.264 or HEVC packet, prefixed by lengths (ISO/IEC 14496-15) or start codes."""
    if extradata[:1] != b"\1":
        starts = [found.end() for found in START_CODE.finditer(data)]
        yield from (data[start : end - 3] for start, end in zip(starts, [*starts[1:], len(data) + 3], strict=True))
        return
    offset = 4 if codec == "h264" else 21
    length_bytes = (extradata[offset] & 3) + 1 if len(extradata) > offset else 4
    start = 0
    while start + length_bytes < len(data):
        end = start + length_bytes + int.from_bytes(data[start : start + length_bytes], "big")
        if end == start + length_bytes:
            return
        yield data[start + length_bytes : end]
        start = end


def sequence_headers(data: bytes) -> Iterator[bytes]:
    """The sequence headers among the first OBUs of an AV1 packet (AV1 specification, 5.3 and 4.10.5)."""
    start = 0
    while start < len(data):
        kind, has_extension, has_size = data[start] >> 3 & 15, data[start] >> 2 & 1, data[start] >> 1 & 1
        offset = start + 1 + has_extension
        size = 0
        for number in range(8 if has_size else 0):
            if offset >= len(data):
                return
            size |= (data[offset] & 0x7F) << (7 * number)
            offset += 1
            if not data[offset - 1] & 0x80:
                break
        end = offset + size if has_size else len(data)
        if kind == AV1_SEQUENCE:
            yield data[offset:end]
        start = max(end, start + 1)
