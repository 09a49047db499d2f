"""The comparison with ffmpeg: which files it reports as equal, different, known or rejected."""

import doctest
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from bench import media, media_compare, media_ffmpeg, media_files
from bench.media_compare import Finding, Ours
from bench.media_ffmpeg import Decoded, Track
from bench.media_matrix import MATRICES, set_matrix
from tests.video.clips import write_clip

pytestmark = pytest.mark.slow

TRACK = Track(index=0, codec="h264", has_hidden_alpha=False, num_tracks=1)
NUM_FRAMES = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty numbered frames at 10 a second with a gap of 11 s, and B-frames."""
    path = tmp_path_factory.mktemp("media") / "numbered.mp4"
    return write_clip(path, NUM_FRAMES, fps=10, times=lambda number: number / 10 + 11 * (number > 12))


def decode_all(path: Path, small: tuple[int, int]) -> Decoded:
    """Decode with the ffmpeg program if it is installed, otherwise with its libraries, in the same order."""
    if media_ffmpeg.is_installed():
        return media_ffmpeg.decode(path, TRACK, small, lambda _: True)
    decoded = Decoded()
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            assert frame.time is not None
            decoded.seconds.append(frame.time)
            decoded.sizes[frame.width, frame.height] += 1
            decoded.pixels[number] = frame.to_ndarray(width=small[0], height=small[1], format="rgb24")
    return decoded


@pytest.fixture(scope="module")
def ours(clip: Path) -> Ours:
    return media_compare.decode_ours(clip, 60)


@pytest.fixture(scope="module")
def theirs(clip: Path, ours: Ours) -> Decoded:
    return decode_all(clip, ours.small)


def kinds(clip: Path, ours: Ours, theirs: Decoded) -> list[str]:
    found = [
        *media_compare.differs_in_count(ours, theirs),
        *media_compare.differs_in_times(ours, theirs),
        *media_compare.differs_in_size(ours, theirs),
        *media_compare.differs_in_pixels(clip, TRACK, ours, theirs),
    ]
    return [kind for kind, _ in found]


def test_an_equal_file(clip: Path, ours: Ours, theirs: Decoded) -> None:
    assert theirs.num_frames == NUM_FRAMES
    assert theirs.seconds[-1] - theirs.seconds[0] == pytest.approx(13.9)
    assert len(ours.indices) == media_compare.NUM_SAMPLED
    assert kinds(clip, ours, theirs) == []


def test_each_kind_of_difference_is_found(clip: Path, ours: Ours, theirs: Decoded) -> None:
    late = ours.seconds.copy()
    late[7] += 0.01
    assert kinds(clip, replace(ours, seconds=late), theirs) == ["times"]
    assert kinds(clip, replace(ours, size=ours.size[::-1]), theirs) == ["rotation"]
    assert kinds(clip, replace(ours, size=(ours.size[0], ours.size[1] + 2)), theirs) == ["size"]
    upside_down = [pixels[::-1, ::-1] for pixels in ours.pixels]
    assert kinds(clip, replace(ours, pixels=upside_down), theirs) == ["rotation"]
    grey = [*ours.pixels[:5], np.full_like(ours.pixels[5], 128), *ours.pixels[6:]]
    assert kinds(clip, replace(ours, pixels=grey), theirs) == ["pixels"]
    lost = replace(ours, indices=ours.indices[:-1], pixels=ours.pixels[:-1])
    assert kinds(clip, lost, theirs) == ["pixels"]


def test_a_neighbouring_frame_is_a_difference(clip: Path, ours: Ours, theirs: Decoded) -> None:
    place = 4
    index = ours.indices[place]
    shifted = [*ours.pixels[:place], theirs.pixels[index + 1], *ours.pixels[place + 1 :]]
    found = media_compare.differs_in_pixels(clip, TRACK, replace(ours, pixels=shifted), theirs)
    assert [kind for kind, _ in found] == ["pixels"]
    assert f"{index} is ffmpeg's {index + 1} (" in found[0][1]


def test_with_different_counts_frames_are_matched_by_time(clip: Path, ours: Ours, theirs: Decoded) -> None:
    """ffmpeg has one more frame at the start: the counts differ, but each frame is matched with the same content."""
    longer = Decoded(
        seconds=theirs.seconds[:1] + theirs.seconds[:0],
        sizes=theirs.sizes,
        pixels={0: theirs.pixels[0], **{number + 1: pixels for number, pixels in theirs.pixels.items()}},
    )
    longer.seconds[0] -= 0.1
    longer.seconds.extend(theirs.seconds)
    assert kinds(clip, ours, longer) == ["count"]
    places, _ = media_compare.match(ours, longer)
    assert places == [index + 1 for index in ours.indices]


def test_deliberate_differences_are_known(ours: Ours, theirs: Decoded) -> None:
    assert media_compare.known_differences(TRACK, theirs, ours) == {}
    bright = replace(theirs, transfers={"bt709", "smpte2084"})
    assert media_compare.known_differences(TRACK, bright, ours) == {"pixels": "HDR tone mapping"}
    joined = replace(theirs, seconds=theirs.seconds[:20] + theirs.seconds[:10])
    assert media_compare.known_differences(TRACK, joined, ours) == {"times": "clock discontinuity"}
    growing = replace(theirs, sizes=Counter({(64, 48): 3, (128, 96): 2}))
    assert set(media_compare.known_differences(TRACK, growing, ours)) == {"size", "rotation", "pixels"}
    two_tracks = media_compare.known_differences(replace(TRACK, num_tracks=2), theirs, ours)
    assert set(two_tracks.values()) == {"several video tracks"}
    rotated = replace(ours, is_picture=True, has_exif_rotation=True)
    assert media_compare.known_differences(TRACK, theirs, rotated)["size"] == "EXIF orientation"


def test_parsing_the_log_of_ffmpeg() -> None:
    log = [
        b"[Parsed_showinfo_0 @ 0x5] config in time_base: 1/1000, frame_rate: 25/1\n",
        b"[Parsed_showinfo_0 @ 0x5] n:   0 pts:  -500 pts_time:-0.5 pos: 1 fmt:yuv420p sar:16/11 s:720x576 i:P \n",
        b"[Parsed_showinfo_0 @ 0x5] color_range:tv color_space:bt2020nc color_primaries:bt2020 color_trc:smpte2084\n",
        b"[Parsed_showinfo_0 @ 0x5] n:   1 pts:NOPTS pts_time:NOPTS pos: 2 fmt:yuv420p sar:0/1 s:320x240 i:P \n",
        b"[h264 @ 0x5] concealing 3 errors\n",
    ]
    decoded = Decoded()
    media_ffmpeg.read_log(iter(log), decoded)  # type: ignore[arg-type]
    assert decoded.seconds[0] == -0.5
    assert np.isnan(decoded.seconds[1])
    assert decoded.sizes == {(1047, 576): 1, (320, 240): 1}
    assert decoded.transfers == {"smpte2084"}
    assert decoded.last_line == "[h264 @ 0x5] concealing 3 errors"


def test_transparency_is_blended_with_white() -> None:
    rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    assert media_ffmpeg.on_white(rgba).tolist() == [[[255, 255, 255], [10, 20, 30], [204, 204, 204]]]


def test_a_folder_of_arbitrary_files(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints a summary if ffmpeg is installed, otherwise a one-line error."""
    os.link(clip, tmp_path / "100%d\n-numbered")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4096))
    (tmp_path / "empty.avi").touch()
    (tmp_path / "no-index.mp4").write_bytes(clip.read_bytes()[:2000])
    (tmp_path / "notes.txt").write_text("not a video\n", encoding="utf-8")
    (tmp_path / "link.mp4").symlink_to(clip)
    os.mkfifo(tmp_path / "pipe.mp4")
    code = media.run(tmp_path, 60)
    said = capsys.readouterr()
    if media_ffmpeg.is_installed():
        assert said.out.startswith("5 files: equal 1, known differences only 0, differ 0 (count 0, ")
        assert "rejected by both 4, rejected by us only 0, rejected by ffmpeg only 0" in said.out
        assert code == 0
    else:
        assert (said.out, said.err, code) == ("", f"{media.NOT_INSTALLED}\n", 2)


@pytest.mark.parametrize("command", [media.run, media_files.write])
def test_without_ffmpeg_there_is_a_one_line_error(
    command: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(tmp_path, 1) == 2  # type: ignore[operator]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "not installed; install" in said.err


def test_a_failed_comparison_is_reported(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(script: str) -> dict[str, object]:
        (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "python").chmod(0o755)
        finding = media.compare_in_process(clip, 0.0)["findings"][0]
        return {finding["kind"]: finding["text"]}

    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert ended("kill -9 $$") == {"failed": "the comparison was killed by SIGKILL"}
    assert ended("echo first >&2; echo last words >&2; exit 1") == {"failed": "last words"}
    monkeypatch.setattr(media, "GRACE_SECONDS", 1.0)
    assert ended("while :; do :; done") == {"timed out": "not compared within 1 s"}


def test_the_time_limit_is_not_a_rejection(clip: Path) -> None:
    outcome, findings = media_compare.compare_file(clip, 0.001)
    assert outcome == "timed out"
    assert [finding.kind for finding in findings] == ["timed out"]
    assert "numbered.mp4: decoding took longer than 0.001 s and was stopped" in findings[0].text


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 2),
        (["rejected by both"], 2),
        (["timed out", "failed"], 2),
        (["compared", "rejected by both"], 0),
        (["compared", "rejected by us only"], 1),
    ],
)
def test_the_exit_code(outcomes: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which nothing could be compared gives exit code 2."""
    for place, outcome in enumerate(outcomes):
        (tmp_path / f"{place} {outcome}").touch()
    monkeypatch.setattr(media_ffmpeg, "is_installed", lambda: True)
    monkeypatch.setattr(media, "compare_in_process", lambda path, _: {"outcome": path.name[2:], "findings": []})
    assert media.run(tmp_path, 1) == code


def test_one_line_per_finding_and_a_summary() -> None:
    findings = [Finding("times", "3 of\n9 differ"), Finding("pixels", "2 differ", "HDR tone mapping")]
    results = [
        {"outcome": "compared", "findings": [vars(finding) for finding in findings]},
        {"outcome": "compared", "findings": [vars(findings[1])]},
        {"outcome": "compared", "findings": []},
        {"outcome": "rejected by both", "findings": []},
        media.ended_early("timed out", "not compared within 3 s"),
    ]
    assert list(media.lines("a\nb.mp4", results[0])) == [
        "times: a\\nb.mp4: 3 of 9 differ",
        "known (HDR tone mapping): a\\nb.mp4: pixels: 2 differ",
    ]
    tally: Counter[str] = Counter()
    for result in results:
        media.count(tally, result)
    assert media.summary(tally) == (
        "5 files: equal 1, known differences only 1, differ 1 (count 0, times 1, size 0, rotation 0, pixels 0), "
        "rejected by both 1, rejected by us only 0, rejected by ffmpeg only 0, timed out 1, failed 0"
    )
    assert not media.is_agreed(tally)
    assert media.is_agreed(Counter({"files": 3, "equal": 1, "known": 1, "rejected by both": 1}))


def test_clips_cover_every_codec_container_and_timing() -> None:
    every = [clip for group in media_files.clip_groups(every_timing=True) for clip in group]
    assert len({clip.name for clip in every}) == len(every)
    assert len(every) == len({(clip.codec, clip.container) for clip in every}) * (1 + len(media_files.TIMINGS))
    assert {clip.codec for clip in every} == set(media_files.CODECS)
    assert {clip.container for clip in every} == set(media_files.CONTAINERS)
    assert {clip.codec for clip in every if clip.container == "m1v"} == {"mpeg1"}
    some = [clip for group in media_files.clip_groups(every_timing=False) for clip in group]
    assert {(clip.codec, clip.timing) for clip in some} == {(clip.codec, clip.timing) for clip in every}
    assert len(some) == 2 * len({(clip.codec, clip.container) for clip in every})


def test_writing_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Writes the clips if ffmpeg is installed, otherwise prints a one-line error."""
    if not media_ffmpeg.is_installed():
        assert media_files.write(tmp_path, False) == 2
        assert "not installed; install" in capsys.readouterr().err
        return
    (tmp_path / "drawn").mkdir()
    sources = media_files.write_sources(tmp_path / "drawn")
    avi = [media_files.Clip("mpeg4", "avi", timing) for timing in ("constant", "cut", "single", "mirrored")]
    assert media_files.write_group(avi, tmp_path, sources) == avi[:3]  # an AVI has no matrix
    assert media_files.write_group([media_files.Clip("mpeg4", "webm", "constant")], tmp_path, sources) == []
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir() if path.is_file()}
    assert set(sizes) == {clip.name for clip in avi[:3]}
    assert sizes["mpeg4-cut.avi"] == int(sizes["mpeg4-constant.avi"] * media_files.CUT_SHARE)
    assert len(media_compare.decode_ours(tmp_path / "mpeg4-constant.avi", 60).seconds) == media_files.NUM_FRAMES
    assert len(media_compare.decode_ours(tmp_path / "mpeg4-single.avi", 60).seconds) == 1


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_a_matrix_keeps_the_frame_in_view(matrix: tuple[int, int, int, int], clip: Path, tmp_path: Path) -> None:
    """The matrix maps the corners of the stored frame to the corners of the displayed one."""
    path = tmp_path / "rotated.mp4"
    path.write_bytes(clip.read_bytes())
    assert set_matrix(path, matrix, (320, 240))
    data = path.read_bytes()
    start = data.index(b"tkhd") + 4 + 40
    a, b, _, c, d, _, x, y, _ = (
        int.from_bytes(data[start + 4 * place : start + 4 * place + 4], "big", signed=True) / 0x10000
        for place in range(9)
    )
    assert (a, b, c, d) == matrix
    corners = {(a * column + c * row + x, b * column + d * row + y) for column in (0, 320) for row in (0, 240)}
    width, height = (240, 320) if a == 0 else (320, 240)
    assert corners == {(0, 0), (width, 0), (0, height), (width, height)}


@pytest.mark.parametrize("module", [media_ffmpeg, media_compare], ids=lambda module: module.__name__)
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
