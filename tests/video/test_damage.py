"""Truncated and damaged files give the frames that can be had, and say what was lost."""

from pathlib import Path

import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import decode_frames, plan_frames, probe
from longva_demo.video.packets import PacketTable
from longva_demo.video.timestamps import UNKNOWN, note_gaps, settle_times, shown_times
from tests.video.clips import find_box, read_number, write_clip

OPTIONS = {"g": "30", "preset": "veryfast"}
SHORT, TORN = "The file says that it is 3.", "The file breaks off in the middle of a frame."


def decoded(path: Path) -> tuple[dict[int, int], list[str]]:
    """Return ({frame index: burnt-in number}, all notes)."""
    info = probe(path)
    numbers, notes = {}, list(info.notes)
    for batch in decode_frames(path, plan_frames(info, 10_000), info=info):
        numbers.update(zip(batch.indices, map(read_number, batch.pixels), strict=True))
        notes += batch.notes
    return numbers, notes


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
    assert all(index == number for index, number in numbers.items())
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


def table(pts: list[int], dts: list[int] | None = None) -> PacketTable:
    count = len(pts)
    flags = np.zeros(count, dtype=bool)
    times = [np.array(column, dtype=np.int64) for column in (pts, dts or pts)]
    return PacketTable(*times, np.ones(count, dtype=np.int64), flags.copy(), flags.copy())


def test_wild_time_stamps_are_dropped_and_filled_in() -> None:
    times = list(range(0, 4000, 40))
    wild = table(times)
    wild.pts[50] = wild.dts[50] = 10**9
    settle_times(wild, 0.001, has_one_clock=True)
    assert wild.pts[50] == UNKNOWN
    assert (np.delete(wild.pts, 50) == np.delete(times, 50)).all()
    np.testing.assert_array_equal(shown_times(wild, np.arange(100), 40), times)


@pytest.mark.parametrize(
    "times", [[0, 1, 2, 3, 90_000, 90_001, 500_000, 500_001, 500_002, 500_003], [0, 40, 80], [7] * 12]
)
def test_gaps_and_steps_are_not_wild(times: list[int]) -> None:
    kept = table(times)
    settle_times(kept, 0.001, has_one_clock=True)
    assert kept.pts.tolist() == times
    assert kept.notes == []


def test_time_stamps_that_start_again_run_on() -> None:
    joined = table([*range(0, 800, 40), *range(0, 800, 40)])
    settle_times(joined, 0.001, has_one_clock=True)
    assert joined.pts.tolist() == list(range(0, 1600, 40))
    assert "start again" in joined.notes[0]


def test_times_dealt_out() -> None:
    """No presentation time, decoding times known: B-frames get the times of their place in display order."""
    unknown = table([UNKNOWN] * 4, [0, 40, 80, 120])
    assert shown_times(unknown, np.array([0, 2, 3, 1]), 40).tolist() == [0, 40, 80, 120]
    nothing = table([UNKNOWN] * 3, [UNKNOWN] * 3)
    assert shown_times(nothing, np.arange(3), 50).tolist() == [0, 50, 100]
    ends = table([UNKNOWN, 40, UNKNOWN, 120, UNKNOWN], [0, 40, 80, 120, 160])
    assert shown_times(ends, np.arange(5), 40).tolist() == [0, 40, 80, 120, 160]


def test_gap_in_a_constant_rate_is_noted() -> None:
    notes: list[str] = []
    note_gaps(notes, np.r_[np.arange(50) * 0.04, 10 + np.arange(50) * 0.04])
    assert notes == ["The file has no frames from 1.96 to 10.00 s."]
    quiet: list[str] = []
    note_gaps(quiet, np.cumsum(np.random.default_rng(0).exponential(1.0, 100)))
    assert quiet == []


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
