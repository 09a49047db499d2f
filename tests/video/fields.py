"""Write H.264 with each frame coded as two field pictures (PAFF), as in broadcasts; x264 cannot do this.

All pictures consist of uncompressed macroblocks (I_PCM). Section numbers refer to ITU-T H.264.
"""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.video.clips import numbered_picture

WIDTH, HEIGHT = 128, 64
PROFILE, LEVEL = 77, 30
I_SLICE, I_PCM = 7, 25


class Bits:
    def __init__(self) -> None:
        self.text = ""

    def fixed(self, value: int, length: int) -> "Bits":
        self.text += f"{value:0{length}b}"
        return self

    def golomb(self, *values: int) -> "Bits":
        """Exp-Golomb codes (9.1)."""
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def aligned(self) -> bytes:
        self.text += "0" * (-len(self.text) % 8)
        return int(self.text, 2).to_bytes(len(self.text) // 8, "big") if self.text else b""


def unit(kind: int, reference: int, data: bytes) -> bytes:
    """A NAL unit with its start code (7.3.1 and annex B)."""
    guarded = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)
    return b"\0\0\0\1" + bytes([reference << 5 | kind]) + guarded


def parameter_sets() -> bytes:
    """7.3.2.1 and 7.3.2.2: fields, 16 frame numbers, 256 picture order counts, CAVLC."""
    sequence = Bits().fixed(PROFILE, 8).fixed(0, 8).fixed(LEVEL, 8)
    sequence.golomb(0, 0, 0, 4, 2).fixed(0, 1).golomb(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    sequence.fixed(0b00_1_0_0_1, 6)  # not frame_mbs_only, no MBAFF, direct 8x8, no cropping, no VUI, stop bit
    picture = Bits().golomb(0, 0).fixed(0, 2).golomb(0, 0, 0).fixed(0, 3).golomb(0, 0, 0).fixed(0b000_1, 4)
    return unit(7, 3, sequence.aligned()) + unit(8, 3, picture.aligned())


def field(number: int, is_bottom: bool, planes: list[np.ndarray], is_reference: bool, frame_number: int) -> bytes:
    """One field of the frame as a slice (7.3.3 and 7.3.5)."""
    is_first = number == 0 and not is_bottom
    head = Bits().golomb(0, I_SLICE, 0).fixed(frame_number % 16, 4).fixed(0b10 | is_bottom, 2)
    if is_first:
        head.golomb(0)
    head.fixed((2 * number + is_bottom) % 256, 8)
    if is_reference:
        head.fixed(0, 2 if is_first else 1)
    head.golomb(0)  # slice_qp_delta
    data = b""
    lines = [plane[is_bottom::2] for plane in planes]
    for row in range(HEIGHT // 32):
        for column in range(WIDTH // 16):
            data += head.golomb(I_PCM).aligned()
            head = Bits()
            for plane, side in zip(lines, (16, 8, 8), strict=True):
                data += plane[row * side : (row + 1) * side, column * side : (column + 1) * side].tobytes()
    return unit(5 if is_first else 1, int(is_reference), data + b"\x80")


def write_fields(path: Path, num_frames: int) -> Path:
    """Numbered frames, every other one a non-reference frame; raw, or in a container with one packet per field."""
    fields = []
    for number in range(num_frames):
        frame = av.VideoFrame.from_ndarray(numbered_picture(number, WIDTH, HEIGHT)).reformat(format="yuv420p")
        planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
        for is_bottom in (False, True):
            fields.append(field(number, is_bottom, planes, number % 2 == 0, (number + 1) // 2))
    fields[0] = parameter_sets() + fields[0]
    if path.suffix == ".h264":
        path.write_bytes(b"".join(fields))
        return path
    with av.open(str(path), "w") as output:
        stream = output.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for position, data in enumerate(fields):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 50), position == 0
            packet.pts = packet.dts = position
            output.mux(packet)
    return path
