"""A preview is an ordinary MP4 that shows the original's frames at their times, checked by burnt-in numbers."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, PreviewProgress, VideoInfo, is_playable, make_preview, preview, probe
from longva_demo.video.preview import choose_frames, preview_size
from tests.video.clips import read_number, repeat_clip, set_edit_start, write_clip
from tests.video.test_formats import FINE, GOP, MILLIS, VPX, X265, gif_times, uneven
from tests.video.test_worker import children, is_alive

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("open_files")]
MPEG4 = {"codec": "mpeg4", "options": {"g": "15", "bf": "2"}}


@dataclass(frozen=True)
class Case:
    file: str
    num_frames: int = 48
    seconds: Callable[[int], float] = lambda i: i / 30
    playable: bool = False
    write: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("hevc.mp4", write={"codec": "libx265", "options": X265}),
    Case("hevc10.mkv", write={"codec": "libx265", "options": X265, "pix_fmt": "yuv420p10le"}),
    Case("b-frames.avi", write=MPEG4),
    Case("program.mpg", write={"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}),
    Case("from5.ts", write={"options": GOP, "times": lambda i: 5 + i / 30, "time_base": FINE}),
    Case("from5.mkv", seconds=lambda i: 5 + i / 30, write={"times": lambda i: 5 + i / 30, "time_base": MILLIS}),
    Case(
        "from5.mp4", 24, lambda i: 5 + i / 30,
        write={"times": lambda i: 5 + i / 30, "time_base": FINE, "pix_fmt": "yuv444p"},
    ),
    Case("uneven.mkv", seconds=uneven, write={"options": GOP, "times": uneven, "time_base": MILLIS}),
    Case(
        "delays.gif", 12, gif_times,
        write={"codec": "gif", "pix_fmt": "rgb8", "times": gif_times, "time_base": Fraction(1, 100), "fps": 10},
    ),
    Case("prores.mov", 6, write={"codec": "prores", "pix_fmt": "yuv422p10le"}),
    Case("flash.flv", write={"options": GOP}),
    Case(
        "odd.avi", 16, lambda i: i / 12,
        write={"codec": "mjpeg", "pix_fmt": "yuvj420p", "size": (323, 241), "fps": 12},
    ),
    Case("plain.mp4", 12, playable=True, write={"options": GOP}),
    Case("vp9.webm", 12, playable=True, write={"codec": "libvpx-vp9", "options": VPX}),
    Case("vp9.mkv", 12, write={"codec": "libvpx-vp9", "options": VPX}),
]  # fmt: skip


def made(path: Path, info: VideoInfo, **options: Any) -> tuple[Path, list[PreviewProgress]]:
    target = path.with_name(f"{path.name}.preview.mp4")
    return target, list(make_preview(path, target, info, **options))


def shown(path: Path) -> tuple[np.ndarray, list[int], float]:
    """Read an MP4 with PyAV alone. Returns ((frames,) times, burnt-in numbers, end in seconds)."""
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the moov box must be in front"
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        assert stream.codec.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.sample_aspect_ratio in (None, 1)
        assert max(stream.width, stream.height) <= 640
        frames = list(opened.decode(stream))
        assert not any(frame.rotation for frame in frames)
        end = (opened.start_time + opened.duration) / av.time_base
    numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in frames]
    return np.array([frame.time for frame in frames]), numbers, end


def check_clock(path: Path, info: VideoInfo, truth: np.ndarray, first: int = 0) -> None:
    """At any time, the frame is that of the original, or one at most 1/15 s older."""
    times, numbers, _ = shown(path)
    assert numbers[0] == first
    assert (np.diff(times) > 1 / 15 - 0.003).all()
    np.testing.assert_allclose(times, truth[np.array(numbers) - first], atol=0.0011)
    original = info.frame_seconds
    # One microsecond, a player's unit of time, makes up for the rounding of time bases.
    for moment in np.concatenate([original, np.linspace(original[0], original[-1] + 0.01, 41)]) + 1e-6:
        in_original = original[np.searchsorted(original, moment, side="right") - 1]
        in_preview = original[numbers[np.searchsorted(times, moment, side="right") - 1] - first]
        assert 0 <= in_original - in_preview < 1 / 15
    if (np.diff(truth) > 1 / 15).all():
        assert len(numbers) == len(truth)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_shows_what_the_original_shows(case: Case, clips: Path) -> None:
    path = write_clip(clips / f"preview-{case.file}", case.num_frames, **case.write)
    info = probe(path)
    assert is_playable(info) == case.playable
    target, progress = made(path, info)
    truth = np.array([case.seconds(position) for position in range(case.num_frames)])
    check_clock(target, info, truth)
    assert shown(target)[2] == pytest.approx(info.duration_seconds, abs=0.001)
    assert progress[-1] == PreviewProgress(1.0, len(shown(target)[1]), is_ready=True)
    assert is_playable(probe(target))


def test_edit_list(clips: Path) -> None:
    path = write_clip(clips / "preview-edit.mp4", 60, options=GOP)
    set_edit_start(path, 21 / 30)
    info = probe(path)
    target, _ = made(path, info)
    check_clock(target, info, np.arange(39) / 30, first=21)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_upright(clips: Path, degrees: int) -> None:
    path = write_clip(clips / f"preview-turned{degrees}.mov", 6, rotation=degrees, turns=-degrees // 90, **MPEG4)
    info = probe(path)
    assert info.rotation == -degrees % 360
    target, _ = made(path, info)
    check_clock(target, info, np.arange(6) / 30)
    after = probe(target)
    assert (after.width, after.height, after.rotation) == (320, 240, 0)


def test_square_pixels_and_small(clips: Path) -> None:
    path = write_clip(clips / "preview-wide.avi", 4, size=(960, 576), aspect=Fraction(4, 3), **MPEG4)
    info = probe(path)
    target, _ = made(path, info)
    check_clock(target, info, np.arange(4) / 30)
    after = probe(target)
    assert (info.width, info.height) == (1280, 576)
    assert (after.width, after.height) == (640, 288)


def test_sizes() -> None:
    assert preview_size(1920, 1080) == (640, 360)
    assert preview_size(1080, 1920) == (360, 640)
    assert preview_size(323, 241) == (324, 240)
    assert preview_size(8000, 20) == (640, 16)


def test_colours(clips: Path) -> None:
    """Red, green and blue survive two conversions and the encoder."""
    path = clips / "colours.avi"
    colours = np.array([[200, 30, 30], [30, 180, 30], [40, 40, 210]], dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj444p"
        picture = np.repeat(np.repeat(colours, 32, axis=0)[None], 64, axis=0)
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    target, _ = made(path, probe(path))
    with av.open(str(target)) as opened:
        pixels = next(opened.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_allclose(pixels[32, 16::32].astype(int), colours.astype(int), atol=14)


def test_previews_of_long_videos_use_key_frames_only(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit on decoded pixels, each key frame is shown until the next, at its exact time."""
    path = write_clip(clips / "preview-long.mkv", 120, options={"g": "20", "bf": "0", "sc_threshold": "0"})
    info = probe(path)
    monkeypatch.setattr(preview, "MAX_DECODED_PIXELS", 100 * 320 * 240)
    target, progress = made(path, info)
    times, numbers, end = shown(target)
    assert numbers == [0, 20, 40, 60, 80, 100]
    np.testing.assert_allclose(times, np.arange(6) * 20 / 30, atol=0.0011)
    assert end == pytest.approx(4, abs=0.04)
    assert progress[-1].num_frames == 6


def test_slow_decoding_switches_to_key_frames(clips: Path) -> None:
    """After the time for full decoding, each remaining GOP contributes one frame."""
    path = write_clip(clips / "preview-slow.avi", 60, codec="mpeg4", options={"g": "12", "sc_threshold": "1000000000"})
    target, _ = made(path, probe(path), full_decode_seconds=0.0)
    times, numbers, _ = shown(target)
    assert numbers == [0, 12, 24, 36, 48]
    np.testing.assert_allclose(times, np.arange(5) * 12 / 30, atol=0.0011)


def hours(info: VideoInfo, seconds: float, fps: float, key_seconds: float) -> VideoInfo:
    """`info` changed to that of a long 1080p video."""
    num_frames = round(seconds * fps)
    arrays = {"shown": np.arange(num_frames), "key_packets": np.arange(0, num_frames, round(key_seconds * fps))}
    return replace(
        info, num_frames=num_frames, width=1920, height=1080, duration_seconds=seconds, fps=fps,
        frame_seconds=np.arange(num_frames) / fps, index={"arrays": arrays},
    )  # fmt: skip


def test_choice_of_frames(plain_clip: Path) -> None:
    info = probe(plain_clip)
    assert choose_frames(info)[:3].tolist() == [0, 2, 4]
    hour = choose_frames(hours(info, 3600, 25, 2))
    assert hour[:3].tolist() == [0, 50, 100]
    assert len(hour) == 1800
    dense = choose_frames(hours(info, 6 * 3600, 30, 0.5))
    assert len(dense) <= 4501
    assert (dense % 15 == 0).all()
    # With very few key frames, the whole video must be decoded for a useful preview.
    sparse = choose_frames(hours(info, 1200, 30, 600))
    assert 4400 <= len(sparse) <= 4501


def preview_worker(path: Path, info: VideoInfo, **options: Any) -> tuple[Any, int, Path]:
    """Start a preview. Returns the iterator after its first progress, the worker's process id, and the target."""
    target = path.with_name(f"{path.stem}-started.mp4")
    steps = make_preview(path, target, info, **options)
    before = set(children())
    step = next(iter(steps))
    assert not step.is_ready
    assert 0 <= step.share < 1
    (pid,) = set(children()) - before
    return steps, pid, target


@pytest.fixture(scope="module")
def long_clip(clips: Path) -> tuple[Path, VideoInfo]:
    """Two minutes at 15 frames per second, which take seconds to preview."""
    path = repeat_clip(write_clip(clips / "preview-source.avi", 40, codec="mpeg4", size=(960, 720)), 1800)
    return path, probe(path)


def files_beside(target: Path) -> list[str]:
    return [path.name for path in target.parent.iterdir() if path.name.startswith(target.stem)]


def test_stopped_before_the_end(long_clip: tuple[Path, VideoInfo]) -> None:
    steps, pid, target = preview_worker(*long_clip)
    while not files_beside(target):  # the encoder looks ahead before it writes
        assert not next(steps).is_ready
    assert files_beside(target) == [f"{target.name}.part"]
    steps.close()
    assert not Path(f"/proc/{pid}").exists()
    assert files_beside(target) == []


def test_killed_worker_leaves_no_file(long_clip: tuple[Path, VideoInfo]) -> None:
    steps, pid, target = preview_worker(*long_clip)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(VideoError, match="decoder process was killed; try again"):
        list(steps)
    assert files_beside(target) == []


def test_hung_worker(long_clip: tuple[Path, VideoInfo]) -> None:
    steps, pid, target = preview_worker(*long_clip, limits=DecodeLimits(stall_seconds=2.0))
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(VideoError, match="hung for 2 s and was stopped"):
        list(steps)
    assert time.monotonic() - started < 20
    assert not is_alive(pid)
    assert files_beside(target) == []


def test_limits(long_clip: tuple[Path, VideoInfo], tmp_path: Path) -> None:
    path, info = long_clip
    target = tmp_path / "limited.mp4"
    with pytest.raises(VideoError, match=r"took longer than 0\.001 s and was stopped; convert it"):
        list(make_preview(path, target, info, DecodeLimits(timeout_seconds=0.001)))
    with pytest.raises(VideoError, match="needs more than the 8 MB of memory allowed"):
        list(make_preview(path, target, info, DecodeLimits(memory_bytes=8 * 1024 * 1024)))
    with pytest.raises(VideoError, match="above the limit"):
        list(make_preview(path, target, info, DecodeLimits(max_size_bytes=1000)))
    assert list(tmp_path.iterdir()) == []


def test_too_large_for_the_disk(plain_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MAX_PREVIEW_BYTES", 5000)
    with pytest.raises(VideoError, match=r"preview of plain.mp4 cannot be written \(File too large\); free some space"):
        list(make_preview(plain_clip, tmp_path / "preview.mp4", probe(plain_clip)))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_target(plain_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be written"):
        list(make_preview(plain_clip, tmp_path / "no folder" / "preview.mp4", probe(plain_clip)))
    target = tmp_path / "preview.mp4"
    target.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(VideoError, match="cannot be saved"):
        list(make_preview(plain_clip, target, probe(plain_clip)))
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_changed_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "changing.avi", 20, **MPEG4)
    info = probe(path)
    write_clip(path, 30, **MPEG4)
    with pytest.raises(VideoError, match="has changed since it was opened"):
        make_preview(path, tmp_path / "preview.mp4", info)


def test_pixel_format_is_reported(plain_clip: Path) -> None:
    assert json.loads(json.dumps(probe(plain_clip).to_dict()))["pixel_format"] == "yuv420p"
