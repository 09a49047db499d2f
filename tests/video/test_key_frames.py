"""Decoding starts at true key frames, whatever the container's flags; every frame affected by damage is noted."""

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.video import DecodeLimits, decode_frames, plan_frames, probe
from longva_demo.video._ffmpeg.frames import exact_frames
from longva_demo.video._ffmpeg.key_frames import KeyFrames
from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video._ffmpeg.reader import PacketReader
from tests.video.clips import decoded, find_box, read_number, write_clip

pytestmark = pytest.mark.slow

SMALL = {"size": (176, 144), "fps": 10}


def sampled(path: Path, budget: int) -> tuple[list[int], list[int], list[str]]:
    """Sample the file. Returns (planned frame indices, burnt-in numbers, notes)."""
    info = probe(path)
    plan = plan_frames(info, budget)
    numbers, notes = [], list(info.notes)
    for batch in decode_frames(path, plan, info=info):
        numbers += map(read_number, batch.pixels)
        notes += batch.notes
    return list(plan.indices), numbers, notes


def without_box(path: Path, name: bytes) -> None:
    data = path.read_bytes()
    assert name in data
    path.write_bytes(data.replace(name, b"free"))


def without_avi_index(path: Path) -> None:
    """Remove the index, which is written last, as in an interrupted recording."""
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"idx1")])


def all_flagged(path: Path) -> None:
    """Remux the file with every packet flagged as a key frame."""
    copy = path.with_stem("flagged")
    with av.open(str(path)) as source, av.open(str(copy), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.is_keyframe = stream, True
                output.mux(packet)
    copy.replace(path)


def first_not_flagged(path: Path) -> None:
    """Remove the first sample from an MP4's sync table."""
    data = bytearray(path.read_bytes())
    table = find_box(bytes(data), b"stss")
    count = struct.unpack_from(">I", data, table + 4)[0]
    struct.pack_into(">I", data, table + 4, count - 1)
    data[table + 8 : table + 8 + 4 * (count - 1)] = data[table + 12 : table + 12 + 4 * (count - 1)]
    path.write_bytes(data)


X265 = {"x265-params": "log-level=error:keyint=12:min-keyint=12:bframes=3", "preset": "ultrafast"}
GOP12 = {"g": "12", "qmin": "2", "qmax": "4"}
WRONG_FLAGS: list[tuple[str, str, dict[str, str], Callable[[Path], None]]] = [
    ("divx3.avi", "msmpeg4", GOP12, without_avi_index),
    ("wmv2.avi", "wmv2", GOP12, without_avi_index),
    ("flv1.avi", "flv", GOP12, without_avi_index),
    ("h263.avi", "h263", GOP12, without_avi_index),
    ("divx3.mkv", "msmpeg4", GOP12, all_flagged),
    ("wmv1.asf", "wmv1", GOP12, all_flagged),
    ("h263.3gp", "h263", GOP12, lambda path: without_box(path, b"stss")),
    ("mpeg4.mp4", "mpeg4", GOP12 | {"bf": "2"}, lambda path: without_box(path, b"stss")),
    ("hevc.mp4", "libx265", X265, lambda path: without_box(path, b"stss")),
    ("h264.mp4", "libx264", {"g": "12"}, lambda path: without_box(path, b"stss")),
    ("first-mpeg4.mp4", "mpeg4", GOP12, first_not_flagged),
    ("first-hevc.mp4", "libx265", X265, first_not_flagged),
]


@pytest.mark.parametrize(("name", "codec", "options", "corrupt"), WRONG_FLAGS, ids=[case[0] for case in WRONG_FLAGS])
def test_wrong_key_flags(
    name: str, codec: str, options: dict[str, str], corrupt: Callable[[Path], None], tmp_path: Path
) -> None:
    path = write_clip(tmp_path / name, 48, codec=codec, options=options, **SMALL)
    corrupt(path)
    indices, numbers, notes = sampled(path, 5)
    assert indices == [0, 11, 23, 35, 47]
    assert numbers == indices
    assert not any("decoded" in note or "Skipped" in note for note in notes)
    assert decoded(path)[0] == {position: position for position in range(48)}


@pytest.mark.parametrize("name", ["fields.mp4", "fields.mkv"])
def test_fields_with_b_frames(name: str, tmp_path: Path) -> None:
    """Interlaced MPEG-4: decoding a leading picture first would corrupt the frames after the key frame."""
    options = {"g": "12", "bf": "2", "flags": "+ilme+ildct", "qmin": "2", "qmax": "4"}
    path = write_clip(tmp_path / name, 75, codec="mpeg4", options=options, **SMALL)
    for budget in (8, 75):
        indices, numbers, notes = sampled(path, budget)
        assert numbers == indices
        assert notes == []


def overwrite_packets(path: Path, numbers: list[int], num_bytes: int | None = None) -> None:
    """Overwrite `num_bytes` in the middle of these packets; by default all but 60 bytes."""
    with av.open(str(path)) as opened:
        packets = [(packet.pos, packet.size) for packet in opened.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(5)
    for number in numbers:
        start, size = packets[number]
        length = num_bytes or size - 60
        middle = start + (size - length) // 2
        data[middle : middle + length] = noise.integers(1, 255, length, dtype=np.uint8).tobytes()
    path.write_bytes(data)


def sequential(path: Path) -> dict[int, np.ndarray]:
    """Decode from the first packet to the last with one thread: {packet number: RGB picture}."""
    pictures = {}
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = [packet for packet in opened.demux(stream) if packet.size]
        for number, packet in enumerate([*packets, None]):
            if packet is not None:
                packet.pts = number
            try:
                frames = stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                continue
            pictures.update({int(frame.pts or 0): frame.to_ndarray(format="rgb24") for frame in frames})
    return pictures


@pytest.mark.parametrize("damaged_keys", [[30, 75, 150], [15, 30, 45], [225]])
@pytest.mark.parametrize("budget", [6, 240])
def test_damaged_key_frames_equal_sequential_decoding(damaged_keys: list[int], budget: int, tmp_path: Path) -> None:
    """With some of 16 key frames damaged, each frame equals decoding from the start. Notes name the damaged ones, up to
    the next intact key frame."""
    path = write_clip(tmp_path / "keys.mp4", 240, options={"g": "15", "bf": "0", "sc_threshold": "0"})
    overwrite_packets(path, damaged_keys, 24)
    truth = sequential(path)
    info = probe(path)
    plan = plan_frames(info, budget)
    notes = []
    for batch in decode_frames(path, plan, info=info):
        notes += batch.notes
        for index, picture in zip(batch.indices, batch.pixels, strict=True):
            difference = np.abs(picture.astype(int) - truth[index]).mean()
            assert difference < 1, f"frame {index} differs by {difference:.1f}"
    damaged = [index for index in plan.indices if index // 15 * 15 in damaged_keys]
    damage_notes = [note for note in notes if "partly decoded" in note]
    assert [note.split()[0] for note in damage_notes] == ([str(len(damaged))] if damaged else [])
    for index in (damaged[0], damaged[-1]) if damaged else ():
        assert f"{info.frame_seconds[index]:.2f}" in damage_notes[0]


@pytest.mark.parametrize("budget", [4, 48])
def test_damage_between_the_wanted_frames_is_noted(budget: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "between.mp4", 48, fps=10, options={"g": "48", "bf": "0"})
    overwrite_packets(path, [20])
    _, numbers, notes = sampled(path, budget)
    assert numbers[0] == 0
    until = "3.10 to 4.70" if budget == 4 else "to 4.70"  # frames 31 and 47 of 0, 15, 31, 47
    assert any("partly decoded" in note and until in note for note in notes), notes


def test_an_intact_open_gop_has_no_note(tmp_path: Path) -> None:
    """Leading pictures that cannot be decoded from their key frame alone are not reported as damage."""
    options = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3"}
    path = write_clip(tmp_path / "open.ts", 96, options=options)
    for budget in (5, 96):
        indices, numbers, notes = sampled(path, budget)
        assert numbers == indices
        assert notes == []


class CountingReader(PacketReader):
    """Counts the packets sent to the decoder, and how often the file is opened."""

    num_decoded = num_opened = 0

    def decode(self, packet: av.Packet | None) -> tuple[list[av.VideoFrame], bool]:
        self.num_decoded += packet is not None
        return super().decode(packet)

    def open(self) -> None:
        self.num_opened += 1
        super().open()


def test_intra_only_frames_are_decoded_alone(tmp_path: Path) -> None:
    """Damage in every frame of an MJPEG video does not cause reading from the start for each."""
    path = write_clip(tmp_path / "noise.avi", 40, codec="mjpeg", pix_fmt="yuvj420p", **SMALL)
    overwrite_packets(path, list(range(1, 40)), 60)
    truth = list(sequential(path))
    info = probe(path)
    index = PacketIndex.from_parts(info.index["arrays"], info.index["flags"])
    for group in (1, 8, 40):
        damaged: set[int] = set()
        with closing(CountingReader(path, index, DecodeLimits(), lambda: None)) as reader:
            keys = KeyFrames(reader)
            groups = [list(range(first, first + group)) for first in range(0, 40, group)]
            found = [number for wanted in groups for number, _ in exact_frames(reader, wanted, damaged, keys)]
            assert found == truth
            assert reader.num_decoded <= 3 * 40  # normally, as a key packet check, and as a damaged frame
            assert reader.num_opened <= 2  # a change of the number of threads
        assert 0 not in damaged
        assert len(damaged) > 30


@pytest.mark.parametrize(
    "segment",
    [b"\xff\xe1\0\x10Exif\0\0garbage!", b"\xff\xe1\0\x10Exif\0\0II*\0\x08\0\0\0\x05\0", b"\xff\xe5\0\0"],
    ids=["no TIFF header", "entries missing", "no length"],
)
def test_invalid_jpeg_metadata_is_no_damage(segment: bytes, tmp_path: Path) -> None:
    """FFmpeg reports invalid EXIF data and other JPEG segments as errors, but the frames are intact."""
    source = write_clip(tmp_path / "plain.avi", 12, codec="mjpeg", pix_fmt="yuvj420p", **SMALL)
    path = tmp_path / "metadata.avi"
    with av.open(str(source)) as opened, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(opened.streams.video[0])
        for packet in opened.demux(video=0):
            if packet.size:
                data = bytes(packet)
                changed = av.Packet(data[:2] + segment + data[2:])
                changed.stream, changed.time_base, changed.is_keyframe = (
                    stream,
                    packet.time_base,
                    True,
                )
                changed.pts, changed.dts = packet.pts, packet.dts
                output.mux(changed)
    assert decoded(path) == ({position: position for position in range(12)}, [])
