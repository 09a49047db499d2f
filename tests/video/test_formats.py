"""Every format yields the right frames at the right times; frame numbers are burnt into the frames."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from zlib import crc32

import av
import numpy as np
import pytest

from longva_demo.video import DecodeLimits, VideoInfo, decode_frames, plan_frames, probe
from longva_demo.video._ffmpeg.frames import exact_frames, strict_frames
from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video._ffmpeg.pictures import PictureWriter
from longva_demo.video._ffmpeg.reader import PacketReader
from tests.video.clips import read_number, set_edit_start, write_clip
from tests.video.fields import write_fields

pytestmark = pytest.mark.slow

GOP = {"g": "15", "preset": "veryfast"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3", "preset": "veryfast"}
X265 = {"x265-params": "log-level=error:keyint=12:min-keyint=12:open-gop=1:bframes=3", "preset": "ultrafast"}
LAYERS = {"x265-params": "log-level=error:keyint=24:temporal-layers=3:bframes=7:b-pyramid=1", "preset": "fast"}
VPX = {"auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "realtime", "cpu-used": "8", "g": "15"}
MILLIS = Fraction(1, 1000)
FINE = Fraction(1, 90000)


@dataclass(frozen=True)
class Case:
    file: str
    num_frames: int = 48
    seconds: Callable[[int], float] = lambda i: i / 30
    first: int = 0  # the number on the first displayed frame
    codec_name: str = "h264"
    write: dict[str, Any] = field(default_factory=dict)


def uneven(position: int) -> float:
    return position * position / 600


def gif_times(position: int) -> float:
    return (0.0, 0.1, 0.5)[position % 3] + position // 3


CASES = [
    Case("plain.mp4", write={"options": GOP}),
    Case("plain.mov", write={"options": GOP}),
    Case("plain.mkv", write={"options": GOP}),
    Case("plain.ts", write={"options": GOP}),
    Case("plain.avi", write={"options": GOP}),
    Case("plain.flv", write={"options": GOP}),
    Case("open-gop.mp4", write={"options": OPEN_GOP}),
    Case("open-gop.mkv", write={"options": OPEN_GOP}),
    Case("intra-refresh.mp4", write={"options": {"x264-params": "intra-refresh=1:keyint=16", "preset": "veryfast"}}),
    Case("fragmented.mp4", write={"options": GOP | {"bf": "0"}, "container_options": {"movflags": "frag_keyframe"}}),
    Case("hevc.mp4", codec_name="hevc", write={"codec": "libx265", "options": X265}),
    Case("layers.mp4", codec_name="hevc", write={"codec": "libx265", "options": LAYERS}),
    Case("hevc10.mkv", codec_name="hevc", write={"codec": "libx265", "options": X265, "pix_fmt": "yuv420p10le"}),
    Case("vp8.webm", codec_name="vp8", write={"codec": "libvpx", "options": VPX}),
    Case("vp9.webm", codec_name="vp9", write={"codec": "libvpx-vp9", "options": VPX}),
    Case("av1.mp4", codec_name="av1", write={"codec": "libsvtav1", "options": {"preset": "8", "crf": "25", "g": "16"}}),
    Case("b-frames.avi", codec_name="mpeg4", write={"codec": "mpeg4", "options": {"g": "15", "bf": "2"}}),
    Case("program.mpg", codec_name="mpeg2video", write={"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}),
    Case("prores.mov", 6, codec_name="prores", write={"codec": "prores", "pix_fmt": "yuv422p10le"}),
    Case("motion.avi", 12, codec_name="mjpeg", write={"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    Case("raw.h264", seconds=lambda i: i / 25, write={"options": GOP, "fps": 25}),
    Case("odd.mp4", 16, write={"size": (323, 241), "pix_fmt": "yuv444p"}),
    Case("one.mp4", 1),
    Case("uneven.mp4", seconds=uneven, write={"options": GOP, "times": uneven, "time_base": FINE}),
    Case(
        "delays.gif", 12, gif_times, codec_name="gif",
        write={"codec": "gif", "pix_fmt": "rgb8", "times": gif_times, "time_base": Fraction(1, 100), "fps": 10},
    ),
    Case("sound.mp4", write={"options": GOP, "audio_seconds": 1.6}),
    # A browser shows the first frames at 5 s and at 0.5 s: it uses the file's timestamps.
    Case("from5.mkv", seconds=lambda i: 5 + i / 30, write={"times": lambda i: 5 + i / 30, "time_base": MILLIS}),
    Case("from5.mp4", seconds=lambda i: 5 + i / 30, write={"times": lambda i: 5 + i / 30, "time_base": FINE}),
    Case(
        "late-picture.mp4", seconds=lambda i: 0.5 + i / 30,
        write={"times": lambda i: 0.5 + i / 30, "time_base": FINE, "audio_seconds": 2.0},
    ),
    Case("from5.ts", write={"options": GOP, "times": lambda i: 5 + i / 30, "time_base": FINE}),
]  # fmt: skip


def check_frames(info: VideoInfo, numbers: Sequence[int]) -> None:
    """Decode single frames, spaced ones and all of them; compare the burnt-in numbers with the expected ones.

    Each frame must also equal sequential decoding bit for bit: a wrongly skipped reference could leave the number
    readable. Runs in this process, since starting a worker for each plan is slow; other tests use the worker.
    """
    index = PacketIndex.from_parts(info.index["arrays"], info.index["flags"])
    pictures = PictureWriter(info.width, info.height, info.scale_to(info.width, info.height))
    out = np.empty((info.height, info.width, 3), dtype=np.uint8)
    reader = PacketReader(info.path, index, DecodeLimits(), lambda: None)
    sequential = []
    with av.open(str(info.path)) as opened:
        for frame in opened.decode(video=0):
            pictures.write(frame, out)
            sequential.append(crc32(out))
    last = info.num_frames - 1
    plans = [[last], [0], [last // 2], list(range(last // 3, last + 1, 7)), list(range(last + 1))]
    for wanted in plans:
        found, damaged = [], set[int]()
        for _, frame in exact_frames(reader, index.shown[wanted].tolist(), damaged):
            pictures.write(frame, out)
            found.append(read_number(out))
            assert crc32(out) == sequential[wanted[len(found) - 1]]
        assert found == [numbers[position] for position in wanted]
        assert damaged == set()
    reader.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_frames_and_times(case: Case, clips: Path) -> None:
    path = write_clip(clips / case.file, case.num_frames, **case.write)
    info = probe(path)
    truth = np.array([case.seconds(position) for position in range(case.num_frames)])
    assert info.num_frames == case.num_frames
    assert info.codec == case.codec_name
    assert (info.width, info.height) == case.write.get("size", (320, 240))
    np.testing.assert_allclose(info.frame_seconds, truth, atol=0.0011)
    assert info.duration_seconds > truth[-1]
    check_frames(info, range(case.num_frames))


@pytest.mark.parametrize("cut_frames", [15, 21])
def test_edit_list_starts_at_zero(clips: Path, cut_frames: int) -> None:
    """Frames cut by an edit list are neither counted nor shown; the first remaining frame is at 0 s."""
    path = write_clip(clips / f"edit{cut_frames}.mp4", 60, options=GOP)
    set_edit_start(path, cut_frames / 30)
    info = probe(path)
    assert info.num_frames == 60 - cut_frames
    np.testing.assert_allclose(info.frame_seconds, np.arange(60 - cut_frames) / 30, atol=0.0011)
    check_frames(info, range(cut_frames, 60))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(clips: Path, degrees: int) -> None:
    """Frames stored rotated, with metadata to rotate them back, are upright, as in a browser."""
    path = write_clip(clips / f"turned{degrees}.mp4", 6, rotation=degrees, turns=-degrees // 90)
    info = probe(path)
    assert (info.width, info.height) == (320, 240)
    assert info.rotation == -degrees % 360
    small = next(decode_frames(path, plan_frames(info, 6), size=(info.width // 2, info.height // 2)))
    assert small.pixels.shape == (6, info.height // 2, info.width // 2, 3)
    assert [read_number(picture) for picture in small.pixels] == list(range(6))
    check_frames(info, range(6))


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(4, 3), (427, 240)), (Fraction(3, 4), (320, 320))])
def test_pixels_are_square(clips: Path, aspect: Fraction, size: tuple[int, int]) -> None:
    """Anamorphic frames have their display size; the sizes are those of Chromium."""
    path = write_clip(clips / f"wide{size[0]}.mp4", 4, aspect=aspect)
    info = probe(path)
    assert (info.width, info.height) == size
    check_frames(info, range(4))


@pytest.mark.parametrize("options", [{"bf": "3", "g": "12"}, {"x264-params": "bframes=3:b-pyramid=2:keyint=24"}])
def test_display_order_unknown_to_the_container(options: dict[str, str], clips: Path) -> None:
    """For H.264 with B-frames, MXF stores decoding times as presentation times."""
    path = write_clip(clips / "order.mxf", 50, fps=25, options=options)
    info = probe(path)
    np.testing.assert_allclose(info.frame_seconds, np.arange(50) / 25, atol=0.0011)
    check_frames(info, range(50))


@pytest.mark.parametrize("name", ["fields.ts", "fields.h264"])
def test_frames_of_two_fields(name: str, clips: Path) -> None:
    """Each field is a separate packet; the number of the first identifies the frame."""
    path = write_fields(clips / name, 24)
    info = probe(path)
    assert (info.num_frames, info.width, info.height) == (24, 128, 64)
    np.testing.assert_allclose(info.frame_seconds, np.arange(24) / 25, atol=0.0011)
    check_frames(info, range(24))
    # The second field of a non-reference frame is not skipped, so nothing is decoded twice.
    index = PacketIndex.from_parts(info.index["arrays"], info.index["flags"])
    with closing(PacketReader(path, index, DecodeLimits(), lambda: None)) as reader:
        found = [(packet, frame.to_ndarray(format="rgb24")) for packet, frame in strict_frames(reader, 0, [14, 30], 1)]
    assert [(packet, read_number(picture)) for packet, picture in found] == [(14, 7), (30, 15)]
