"""Truncated and damaged files yield all decodable frames, and notes on what was lost."""

from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import decode_frames, plan_frames, probe
from tests.video.clips import decoded, find_box, write_clip

OPTIONS = {"g": "30", "preset": "veryfast"}
SHORT, TRUNCATED = "The header states a duration of 3.", "The file is truncated in the middle of a frame."


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
def test_truncated_file_yields_the_frames_before_the_cut(name: str, tmp_path: Path) -> None:
    fast = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_clip(tmp_path / name, 120, options=OPTIONS, container_options=fast)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    numbers, notes = decoded(path)
    assert 60 < len(numbers) < 100
    if any(note.startswith("1 frame ") and "could only be partly decoded" in note for note in notes):
        del numbers[max(numbers)]  # the position of the cut varies: the encoder's output differs between CPUs
    seconds = probe(path).frame_seconds
    assert all(number == round(30 * seconds[index]) for index, number in numbers.items())
    if not name.endswith("ts"):  # a transport stream has no duration in its header
        assert any("but the video ends at" in note for note in notes)


def test_zeroed_stretch_loses_only_its_frames(tmp_path: Path) -> None:
    """A lost block inside an MP4: frames from the next key frame on are correct."""
    path = write_clip(tmp_path / "hole.mp4", 120, options=OPTIONS)
    data = bytearray(path.read_bytes())
    start = find_box(bytes(data), b"mdat")
    size = len(data) - start
    data[start + size // 3 : start + size // 2] = bytes(size // 2 - size // 3)
    path.write_bytes(data)
    numbers, notes = decoded(path)
    assert all(numbers[index] == index for index in [*range(30), *range(90, 120)])
    assert len(numbers) < 120
    assert any("could not be decoded" in note for note in notes)
    assert all(note.count("\n") == 0 for note in notes)


def test_scattered_damage_is_noted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "dirty.mp4", 120, options=OPTIONS)
    data = bytearray(path.read_bytes())
    start = find_box(bytes(data), b"mdat")
    size = len(data) - start
    random = np.random.default_rng(1)
    for position in range(start + size // 3, start + size // 2, 61):
        data[position] = random.integers(256)
    path.write_bytes(data)
    numbers, notes = decoded(path)
    assert all(numbers[index] == index for index in [*range(30), *range(90, 120)])
    assert any("damaged" in note or "partly decoded" in note for note in notes)


def test_a_range_of_lost_frames_is_an_error(tmp_path: Path) -> None:
    """Not an empty result: without frames, the model must not answer."""
    path = write_clip(tmp_path / "lost.mp4", 90, options={"g": "30", "bf": "0"})
    info = probe(path)
    data = bytearray(path.read_bytes())
    start = find_box(bytes(data), b"mdat")
    data[start + (len(data) - start) // 4 :] = bytes(len(data) - start - (len(data) - start) // 4)
    # Keep the index, which is at the end of an MP4 without fast start.
    original = path.read_bytes()
    tail = original.index(b"moov") - 4
    data[tail:] = original[tail:]
    path.write_bytes(data)
    info = probe(path)
    with pytest.raises(VideoError, match=r"none of the 4 frames of lost.mp4 could be decoded; the file is damaged"):
        list(decode_frames(path, plan_frames(info, 4, 2.1, 2.9), info=info))


def test_stream_cut_before_its_first_key_frame(tmp_path: Path) -> None:
    """A recording that starts in mid-GOP: frames that cannot be decoded are not counted."""
    path = write_clip(tmp_path / "middle.ts", 90, options=OPTIONS)
    data = path.read_bytes()
    head, rest = data[: 188 * 3], data[len(data) // 6 // 188 * 188 :]  # the tables, then the stream from mid-GOP
    path.write_bytes(head + rest)
    numbers, notes = decoded(path)
    assert numbers == {index: 30 + index for index in range(60)}
    assert any("at the start: the reference frames are missing" in note for note in notes)


@pytest.mark.parametrize("name", ["part.mp4", "part.flv"])
def test_a_truncated_last_packet_is_not_counted(name: str, tmp_path: Path) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov"} if name.endswith("mp4") else {}
    options = {"g": "10", "bf": "0", "preset": "veryfast"}
    path = write_clip(tmp_path / name, 30, options=options, container_options=fragments)
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
        cut = packets[25].pos + packets[25].size // 8
    path.write_bytes(path.read_bytes()[:cut])
    assert probe(path).num_frames == 25
    numbers, notes = decoded(path)
    assert numbers == {position: position for position in range(25)}
    assert not any("could not be decoded" in note for note in notes)


@pytest.mark.parametrize(("name", "expected"), [("cut.flv", SHORT), ("cut.mov", SHORT), ("cut.avi", TRUNCATED)])
def test_a_truncated_file_has_one_note(name: str, expected: str, clips: Path) -> None:
    fast = {"movflags": "faststart"} if name.endswith("mov") else {}
    coding = {"codec": "mpeg4"} if name.endswith("avi") else {"options": OPTIONS}
    path = write_clip(clips / name, 90, container_options=fast, **coding)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.55)])
    notes = probe(path).notes
    assert len(notes) == 1, notes
    assert notes[0].startswith(expected)
