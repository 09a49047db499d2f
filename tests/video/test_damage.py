"""Truncated and damaged files give the frames that can be had, and say what was lost."""

from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import decode_frames, plan_frames, probe
from tests.video.clips import decoded, find_box, write_clip

OPTIONS = {"g": "30", "preset": "veryfast"}
SHORT, TORN = "The file says that it is 3.", "The file breaks off in the middle of a frame."


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
def test_truncated_file_gives_what_is_there(name: str, tmp_path: Path) -> None:
    fast = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_clip(tmp_path / name, 120, options=OPTIONS, container_options=fast)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    numbers, notes = decoded(path)
    assert 60 < len(numbers) < 100
    if any(note.startswith("1 frame ") and "could be decoded only in part" in note for note in notes):
        del numbers[max(numbers)]  # where the cut falls depends on the encoder, which writes other bytes on other CPUs
    seconds = probe(path).frame_seconds
    assert all(number == round(30 * seconds[index]) for index, number in numbers.items())
    if not name.endswith("ts"):  # a transport stream says nowhere how long it is
        assert any("long, but its pictures end at" in note for note in notes)


def test_zeroed_stretch_costs_only_its_frames(tmp_path: Path) -> None:
    """A lost block inside an MP4: frames after the next key frame are right again."""
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
    for place in range(start + size // 3, start + size // 2, 61):
        data[place] = random.integers(256)
    path.write_bytes(data)
    numbers, notes = decoded(path)
    assert all(numbers[index] == index for index in [*range(30), *range(90, 120)])
    assert any("damaged" in note or "only in part" in note for note in notes)


def test_only_lost_frames_wanted(tmp_path: Path) -> None:
    """No frame, no answer: a range of which nothing can be decoded is an error, not an empty result."""
    path = write_clip(tmp_path / "lost.mp4", 90, options={"g": "30", "bf": "0"})
    info = probe(path)
    data = bytearray(path.read_bytes())
    start = find_box(bytes(data), b"mdat")
    data[start + (len(data) - start) // 4 :] = bytes(len(data) - start - (len(data) - start) // 4)
    # The index of an MP4 without fast start lies at the end: keep it.
    original = path.read_bytes()
    tail = original.index(b"moov") - 4
    data[tail:] = original[tail:]
    path.write_bytes(data)
    info = probe(path)
    with pytest.raises(VideoError, match=r"none of the 4 frames of lost.mp4 could be decoded; the file is damaged"):
        list(decode_frames(path, plan_frames(info, 4, 2.1, 2.9), info=info))


def test_stream_cut_before_its_first_key_frame(tmp_path: Path) -> None:
    """A recording that begins in the middle: frames that cannot be decoded are not counted."""
    path = write_clip(tmp_path / "middle.ts", 90, options=OPTIONS)
    data = path.read_bytes()
    head, rest = data[: 188 * 3], data[len(data) // 6 // 188 * 188 :]  # the tables, then from the middle of a group
    path.write_bytes(head + rest)
    numbers, notes = decoded(path)
    assert numbers == {index: 30 + index for index in range(60)}
    assert any("need frames from before the start of the file" in note for note in notes)


@pytest.mark.parametrize("name", ["part.mp4", "part.flv"])
def test_a_last_packet_that_is_cut_off_is_no_frame(name: str, tmp_path: Path) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov"} if name.endswith("mp4") else {}
    options = {"g": "10", "bf": "0", "preset": "veryfast"}
    path = write_clip(tmp_path / name, 30, options=options, container_options=fragments)
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
        cut = packets[25].pos + packets[25].size // 8
    path.write_bytes(path.read_bytes()[:cut])
    assert probe(path).num_frames == 25
    numbers, notes = decoded(path)
    assert numbers == {place: place for place in range(25)}
    assert not any("could not be decoded" in note for note in notes)


@pytest.mark.parametrize(("name", "said"), [("cut.flv", SHORT), ("cut.mov", SHORT), ("cut.avi", TORN)])
def test_a_file_that_was_cut_off_gets_one_note(name: str, said: str, clips: Path) -> None:
    fast = {"movflags": "faststart"} if name.endswith("mov") else {}
    coding = {"codec": "mpeg4"} if name.endswith("avi") else {"options": OPTIONS}
    path = write_clip(clips / name, 90, container_options=fast, **coding)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.55)])
    notes = probe(path).notes
    assert len(notes) == 1, notes
    assert notes[0].startswith(said)
