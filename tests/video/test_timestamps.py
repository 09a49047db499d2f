"""Timestamps: uneven ones are kept, outliers dropped, and restarts joined."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.video import DecodeLimits, probe
from longva_demo.video._ffmpeg.packets import PacketTable
from longva_demo.video._ffmpeg.timestamps import (
    UNKNOWN,
    longest_ascending,
    note_gaps,
    presentation_times,
    repair_timestamps,
    timestamp_outliers,
)
from tests.video.clips import decoded, find_box, repeat_parts, write_clip

B_FRAMES = {"g": "250", "bf": "3", "preset": "veryfast"}
FINE = Fraction(1, 90000)
HALF_HOUR = DecodeLimits(max_duration_seconds=1800)


def slides(position: int) -> float:
    """Slides of 4 to 60 s each."""
    return float(np.random.default_rng(3).uniform(4, 60, 40)[:position].sum())


def screen_recording(position: int) -> float:
    """Bursts of 24 frames at 5 per second, with a minute between them."""
    return position / 5 + position // 24 * 60.0


@pytest.mark.parametrize("name", ["slides.mp4", "slides.mkv", "slides.mov"])
@pytest.mark.parametrize("times", [slides, screen_recording, lambda position: 20.0 * position])
def test_uneven_times_are_kept(name: str, times: Callable[[int], float], tmp_path: Path) -> None:
    """With B-frames, presentation times go up and down in file order; these are no outliers."""
    path = write_clip(tmp_path / name, 40, options=B_FRAMES, times=times, time_base=FINE)
    info = probe(path)
    np.testing.assert_allclose(info.frame_seconds, [times(position) for position in range(40)], atol=0.0011)
    assert not any("time" in note for note in info.notes)


def joined(tmp_path: Path, seconds_later: float, step: float = 0.1) -> Path:
    """Two transport streams of 24 frames, one after the other; the second starts `seconds_later` on."""
    times = {"options": B_FRAMES, "time_base": FINE}
    first = write_clip(tmp_path / "a.ts", 24, times=lambda i: 100_000 + step * i, **times)
    second = write_clip(tmp_path / "b.ts", 24, times=lambda i: 100_000 + seconds_later + step * i, **times)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


@pytest.mark.parametrize("seconds_later", [-97.0, -2.0, 50_000.0])
def test_joined_recordings_are_continuous(seconds_later: float, tmp_path: Path) -> None:
    path = joined(tmp_path, seconds_later)
    info = probe(path, HALF_HOUR)
    np.testing.assert_allclose(info.frame_seconds, np.arange(48) * 0.1, atol=0.11)
    assert info.duration_seconds == pytest.approx(4.8, abs=0.11)
    assert any("timestamps restart" in note for note in info.notes)


def test_joined_recordings_of_one_clock(tmp_path: Path) -> None:
    info = probe(joined(tmp_path, 120.0, step=5.0))
    np.testing.assert_allclose(info.frame_seconds, np.arange(48) * 5.0, atol=0.01)
    assert not any("time" in note for note in info.notes)


def test_part_of_a_live_stream(tmp_path: Path) -> None:
    """Its timestamps start at 7 h, as in the stream; only its length counts against the limit."""
    path = write_clip(
        tmp_path / "live.mp4",
        48,
        fps=10,
        options={"g": "12", "bf": "0"},
        container_options={"movflags": "frag_keyframe+empty_moov"},
    )
    data = bytearray(path.read_bytes())
    scale = struct.unpack_from(">I", data, find_box(bytes(data), b"mdhd") + 12)[0]
    start = find_box(bytes(data), b"tfdt")
    while start >= 4:
        before = struct.unpack_from(">Q", data, start + 4)[0]  # written with 64 bits
        struct.pack_into(">Q", data, start + 4, before + 7 * 3600 * scale)
        start = data.find(b"tfdt", start) + 4
    path.write_bytes(data)
    info = probe(path, HALF_HOUR)
    np.testing.assert_allclose(info.frame_seconds, 25_200 + np.arange(48) / 10, atol=0.0011)


def lie_in_flv(data: bytearray) -> None:
    struct.pack_into(">d", data, data.index(b"duration") + len("duration") + 1, 90_000.0)


def lie_in_avi(data: bytearray) -> None:
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 1_000_000)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 1_000_000)


def lie_in_matroska(data: bytearray) -> None:
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, 9 * 3600 * 1000.0)


@pytest.mark.parametrize(("name", "lie"), [("a.flv", lie_in_flv), ("a.avi", lie_in_avi), ("a.mkv", lie_in_matroska)])
def test_wrong_duration_in_the_header(name: str, lie: Callable[[bytearray], None], tmp_path: Path) -> None:
    """The limit applies to the content of the file, not to the duration in its header."""
    path = write_clip(tmp_path / name, 48, fps=10, options={"g": "12", "bf": "0"})
    data = bytearray(path.read_bytes())
    lie(data)
    path.write_bytes(data)
    info = probe(path, HALF_HOUR)
    assert info.duration_seconds == pytest.approx(4.8)
    np.testing.assert_allclose(info.frame_seconds, np.arange(48) / 10, atol=0.0011)
    numbers, _ = decoded(path)
    assert numbers == {position: position for position in range(48)}


def test_edit_list_of_two_parts(tmp_path: Path) -> None:
    """1 s from the start, then 1.5 s from 3 s on: the demuxer repeats packets, and the times are unchanged."""
    path = repeat_parts(write_clip(tmp_path / "parts.mp4", 60, fps=10, options=B_FRAMES), [(0.0, 1.0), (3.0, 1.5)])
    info = probe(path)
    np.testing.assert_allclose(info.frame_seconds, np.arange(25) / 10, atol=0.0011)
    assert info.duration_seconds == pytest.approx(2.5)
    assert info.notes == ()
    numbers, notes = decoded(path)
    assert list(numbers.values()) == [*range(10), *range(30, 45)]
    assert notes == []


def table(pts: list[int], dts: list[int] | None = None) -> PacketTable:
    count = len(pts)
    flags = np.zeros(count, dtype=bool)
    times = [np.array(column, dtype=np.int64) for column in (pts, dts or pts)]
    return PacketTable(*times, np.ones(count, dtype=np.int64), flags.copy(), flags.copy())


def test_outliers_are_dropped_and_filled_in() -> None:
    times = list(range(0, 4000, 40))
    wild = table(times)
    wild.pts[50] = wild.dts[50] = 10**9
    repair_timestamps(wild, 0.001, has_one_clock=True)
    assert wild.pts[50] == UNKNOWN
    assert (np.delete(wild.pts, 50) == np.delete(times, 50)).all()
    np.testing.assert_array_equal(presentation_times(wild, np.arange(100), 40), times)


@pytest.mark.parametrize(
    "times", [[0, 1, 2, 3, 90_000, 90_001, 500_000, 500_001, 500_002, 500_003], [0, 40, 80], [7] * 12]
)
def test_gaps_and_steps_are_no_outliers(times: list[int]) -> None:
    kept = table(times)
    repair_timestamps(kept, 0.001, has_one_clock=True)
    assert kept.pts.tolist() == times
    assert kept.notes == []


def test_restarting_timestamps_are_continued() -> None:
    joined = table([*range(0, 800, 40), *range(0, 800, 40)])
    repair_timestamps(joined, 0.001, has_one_clock=True)
    assert joined.pts.tolist() == list(range(0, 1600, 40))
    assert "timestamps restart" in joined.notes[0]


def test_missing_presentation_times() -> None:
    """With known decoding times, frames get these in display order."""
    unknown = table([UNKNOWN] * 4, [0, 40, 80, 120])
    assert presentation_times(unknown, np.array([0, 2, 3, 1]), 40).tolist() == [0, 40, 80, 120]
    nothing = table([UNKNOWN] * 3, [UNKNOWN] * 3)
    assert presentation_times(nothing, np.arange(3), 50).tolist() == [0, 50, 100]
    ends = table([UNKNOWN, 40, UNKNOWN, 120, UNKNOWN], [0, 40, 80, 120, 160])
    assert presentation_times(ends, np.arange(5), 40).tolist() == [0, 40, 80, 120, 160]


def test_gap_in_a_constant_rate_is_noted() -> None:
    notes: list[str] = []
    note_gaps(notes, np.r_[np.arange(50) * 0.04, 10 + np.arange(50) * 0.04])
    assert notes == ["The file has no frames from 1.96 to 10.00 s."]
    quiet: list[str] = []
    note_gaps(quiet, np.cumsum(np.random.default_rng(0).exponential(1.0, 100)))
    assert quiet == []


def test_outliers_are_distinguished_from_gaps_and_restarts() -> None:
    regular = np.arange(30)
    outlier = regular.copy()
    outlier[12] = 900
    assert np.flatnonzero(timestamp_outliers(outlier, 1, 10.0)).tolist() == [12]
    for times in (np.r_[regular, regular + 900], np.r_[regular + 900, regular]):
        assert not timestamp_outliers(times, 1, 10.0).any()


def test_longest_ascending_subsequence() -> None:
    times = np.array([0, 40, 9000, 80, 120, 110])
    assert longest_ascending(times, np.arange(6)).tolist() in ([0, 1, 3, 4], [0, 1, 3, 5])
    assert longest_ascending(times, np.array([0, 1, 3, 4])).tolist() == [0, 1, 3, 4]


def test_missing_times_continue_up_to_a_gap() -> None:
    """A program stream has few timestamps; a gap is just before the next one, not spread over the frames."""
    times = [0, UNKNOWN, UNKNOWN, 120, UNKNOWN, 9000, UNKNOWN]
    sparse = table(times, times)
    assert presentation_times(sparse, np.arange(7), 40).tolist() == [0, 40, 80, 120, 160, 9000, 9040]


def test_one_outlier_has_one_note(tmp_path: Path) -> None:
    """The timestamp of one Matroska block is 32 s later than its neighbours'."""
    path = write_clip(tmp_path / "wild.mkv", 60, fps=10, options={"g": "12", "bf": "0"})
    with av.open(str(path)) as opened:
        payload = [bytes(packet) for packet in opened.demux(video=0)][30]
    data = bytearray(path.read_bytes())
    struct.pack_into(">h", data, data.index(payload) - 3, 32_000)
    path.write_bytes(data)
    info = probe(path)
    np.testing.assert_allclose(info.frame_seconds, np.arange(60) / 10, atol=0.0011)
    assert info.notes == ("Ignored 1 implausible timestamp.",)


def test_windows_media_with_b_frames(tmp_path: Path) -> None:
    """Only the first packet has a presentation time, and the container states twice the frame rate."""
    path = write_clip(tmp_path / "b.wmv", 50, codec="mpeg1video", fps=25, options={"bf": "2"}, container="asf")
    info = probe(path)
    assert info.num_frames == 50
    np.testing.assert_allclose(np.diff(info.frame_seconds), 1 / 25, atol=0.0011)
