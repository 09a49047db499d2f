"""Videos whose frame size changes: all frames are scaled to fit the largest size."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.video import decode_frames, plan_frames, probe
from longva_demo.video._ffmpeg.picture_sizes import HEAD_BYTES, size_signature
from tests.video.clips import numbered_picture, open_encoder, read_number

CODECS = {
    "grows.webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "grows.mkv": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "grows.ts": ("libx264", {"preset": "veryfast", "bf": "0", "g": "6"}),
    "grows-hevc.ts": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0:keyint=6"}),
    "grows.avi": ("mjpeg", {}),
    "grows-mpeg4.avi": ("mpeg4", {"g": "6"}),
    "grows.ivf": ("libsvtav1", {"preset": "10", "g": "6", "svtav1-params": "pred-struct=1"}),
}
PART = 6  # frames of each size


def write_parts(path: Path, codec: str, options: dict[str, str], sizes: list[tuple[int, int]]) -> Path:
    """A video with one track that has each frame size in turn, with consecutive frame numbers."""
    with av.open(str(path), "w") as output:
        stream, number = None, 0
        for width, height in sizes:
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.options = width, height, options
            encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            if stream is None:
                stream = output.add_stream(codec, rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, encoder.pix_fmt
                stream.codec_context.time_base = Fraction(1, 25)
                stream.codec_context.options = options
                open_encoder(stream.codec_context)
            open_encoder(encoder)
            packets = []
            for position in range(PART):
                frame = av.VideoFrame.from_ndarray(numbered_picture(number + position, width, height))
                frame.pts = position
                packets += encoder.encode(frame)
            for packet in packets + encoder.encode(None):
                packet.pts, packet.dts = (packet.pts or 0) + number, (packet.dts or 0) + number
                packet.stream = stream
                output.mux(packet)
            number += PART
    return path


@pytest.mark.parametrize("name", CODECS)
def test_the_largest_size_is_used(name: str, clips: Path) -> None:
    codec, options = CODECS[name]
    path = write_parts(clips / name, codec, options, [(160, 120), (640, 480), (320, 240)])
    info = probe(path)
    assert (info.width, info.height) == (640, 480)
    assert [note for note in info.notes if "size" in note] == [
        "The frame size changes (160 × 120, 320 × 240, 640 × 480); all frames are scaled to fit 640 × 480 pixels."
    ]
    batches = list(decode_frames(path, plan_frames(info, 3 * PART), info=info))
    pixels = np.concatenate([batch.pixels for batch in batches])
    assert [read_number(picture) for picture in pixels] == list(range(3 * PART))
    assert not [note for batch in batches for note in batch.notes]


def test_another_shape_is_centred_on_black(clips: Path) -> None:
    codec, options = CODECS["grows.webm"]
    path = write_parts(clips / "shape.webm", codec, options, [(160, 120), (640, 320), (120, 240)])
    info = probe(path)
    assert (info.width, info.height) == (640, 320)
    pixels = np.concatenate([b.pixels for b in decode_frames(path, plan_frames(info, 3 * PART), info=info)])
    first, middle, last = pixels[0], pixels[PART], pixels[2 * PART]
    wide, tall = (320 * 160 // 120, 320), (160, 320)  # the largest sizes that fit
    assert read_number(middle) == PART
    for picture, (width, _), number in ((first, wide, 0), (last, tall, 2 * PART)):
        left = (640 - width) // 2
        assert read_number(picture[:, left : left + width]) == number
        assert picture[:, : left - 2].max() < 8
        assert picture[:, left + width + 2 :].max() < 8
    small = next(decode_frames(path, plan_frames(info, 1), info=info, size=(320, 160))).pixels[0]
    assert read_number(small[:, 54:266]) == 0
    assert small[:, :52].max() < 8


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_empty_nal_units(codec: str) -> None:
    """Two adjacent start codes, and one at the end of the packet or of the part that is read."""
    code, other = b"\0\0\1", b"\x65\x10"
    parameters = bytes([{"h264": 0x67, "hevc": 33 << 1}[codec]]) + b"1920x1080"
    for data in (
        code + code + parameters + code + other,
        code + parameters + code,
        (code + parameters + code + other).ljust(HEAD_BYTES - 3, b"\x55") + code + other,
    ):
        assert size_signature(codec, b"", av.Packet(data)) == parameters
