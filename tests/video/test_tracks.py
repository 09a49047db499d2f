"""Choice of the video track and frame size: cover images, changing sizes, data after a GIF's last frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.video import probe
from tests.video.clips import decoded, numbered_picture, write_clip

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["cover.mp4", "cover.mkv"])
@pytest.mark.parametrize("cover_first", [True, False])
def test_a_cover_without_the_flag_is_ignored(name: str, cover_first: bool, tmp_path: Path) -> None:
    """A track with one large picture, without the attached-picture flag."""
    video = write_clip(tmp_path / "video.mp4", 48, options={"g": "12", "bf": "0"})
    path = tmp_path / name
    with av.open(str(video)) as source, av.open(str(path), "w") as output:
        streams = {}
        for kind in ("cover", "video") if cover_first else ("video", "cover"):
            if kind == "video":
                streams[kind] = output.add_stream_from_template(source.streams.video[0])
            else:
                streams[kind] = output.add_stream("mjpeg", rate=1)
                streams[kind].width, streams[kind].height, streams[kind].pix_fmt = 640, 480, "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.full((480, 640, 3), 90, dtype=np.uint8), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1)
        output.mux(streams["cover"].encode(picture) + streams["cover"].encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = streams["video"]
                output.mux(packet)
    info = probe(path)
    assert (info.num_frames, info.width, info.height) == (48, 320, 240)
    assert decoded(path)[0] == {position: position for position in range(48)}


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "one.mp4", 1)
    assert decoded(path)[0] == {0: 0}


def write_growing(path: Path, sizes: list[tuple[int, int]], codec: str = "libvpx") -> Path:
    """12 frames of each size in one track, as when a browser records a call that starts small."""
    with av.open(str(path), "w") as output:
        track = output.add_stream(codec, rate=10)
        track.width, track.height, track.pix_fmt = *sizes[0], "yuv420p"
        track.codec_context.time_base = Fraction(1, 1000)
        for part, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 1000), Fraction(10)
            for position in range(12 * part, 12 * part + 12):
                frame = av.VideoFrame.from_ndarray(numbered_picture(position, width, height), format="rgb24")
                frame.pts, frame.time_base = position * 100, Fraction(1, 1000)
                mux_into(output, track, encoder.encode(frame))
            mux_into(output, track, encoder.encode(None))
    return path


def mux_into(output: av.container.OutputContainer, track: av.VideoStream, packets: list[av.Packet]) -> None:
    for packet in packets:
        packet.stream, packet.time_base = track, Fraction(1, 1000)
        output.mux(packet)


@pytest.mark.parametrize(("sizes", "largest"), [
    ([(160, 120), (640, 480), (640, 480)], (640, 480)),
    ([(160, 120)] * 6 + [(320, 240)], (320, 240)),
    ([(640, 480), (160, 120)], (640, 480)),
])  # fmt: skip
def test_the_largest_size_is_used(sizes: list[tuple[int, int]], largest: tuple[int, int], tmp_path: Path) -> None:
    path = write_growing(tmp_path / "grows.webm", sizes)
    info = probe(path)
    assert (info.width, info.height) == largest
    assert decoded(path)[0] == {position: position for position in range(12 * len(sizes))}


@pytest.mark.parametrize("extra", [
    b"\x21\xfe\x05hello\x00",
    b"\x21\xff\x0bXMP DataXMP\x03abc\x00",
    b"\x21\xf9\x04\x00\x0a\x00\x00\x00",
    b"\x21\xfe\x05hello\x00" * 3,
], ids=["comment", "application", "control", "three comments"])  # fmt: skip
def test_data_after_the_last_frame_of_a_gif_is_no_frame(extra: bytes, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "five.gif", 5, codec="gif", pix_fmt="rgb8", fps=5)
    data = path.read_bytes()
    assert data.endswith(b"\x3b")
    path.write_bytes(data[:-1] + extra + b"\x3b")
    info = probe(path)
    assert info.num_frames == 5
    assert info.duration_seconds == pytest.approx(1.0, abs=0.011)
    numbers, notes = decoded(path)
    assert numbers == {position: position for position in range(5)}
    assert notes == []
