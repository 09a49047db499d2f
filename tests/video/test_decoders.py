"""Compare PyAV, which decodes all files correctly, with decord, the reference's decoder."""

import importlib.util
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import FramePlan, VideoInfo, decode_frames, plan_frames, probe
from tests.video.clips import read_number, set_edit_start, write_clip

pytestmark = pytest.mark.slow

HAS_DECORD = importlib.util.find_spec("decord") is not None
X264 = {"g": "12", "preset": "veryfast"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3", "preset": "veryfast"}
X265 = {"x265-params": "log-level=error:keyint=12:min-keyint=12:bframes=3", "preset": "ultrafast"}
VPX = {"auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "good", "cpu-used": "5", "g": "24"}
NUM_FRAMES = 48
NUM_SAMPLED = 10  # about one per GOP, so that decord seeks

CORRECT, WRONG, ERROR = "correct", "wrong frames without an error", "an error"
TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "b-frames.mp4": ({"options": X264}, CORRECT),
    "b-frames.mkv": ({"options": X264}, CORRECT),
    "fragmented.mp4": ({"options": X264, "container_options": {"movflags": "frag_keyframe+empty_moov"}}, CORRECT),
    "odd.mp4": ({"options": X264, "size": (323, 241), "pix_fmt": "yuv444p"}, CORRECT),
    "uneven.mp4": ({"options": X264, "times": lambda i: i * i / 600, "time_base": Fraction(1, 90000)}, CORRECT),
    "turned.mp4": ({"options": X264, "rotation": 90, "turns": -1}, CORRECT),
    "plain.avi": ({"codec": "mpeg4", "options": {"g": "12"}}, CORRECT),
    "b-frames.avi": ({"options": X264}, WRONG),
    "open-gop.mp4": ({"options": OPEN_GOP}, WRONG),
    "hevc.mp4": ({"codec": "libx265", "options": X265}, WRONG),
    "edit-list.mp4": ({"options": X264}, WRONG),
    "transport.ts": ({"options": X264}, WRONG),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": VPX}, CORRECT),
    "av1.mp4": ({"codec": "libsvtav1", "options": {"preset": "8", "g": "12"}}, ERROR),
}


@pytest.mark.parametrize("name", TABLE)
def test_decoder_correctness(name: str, clips: Path) -> None:
    """For the reference's choice of frames, PyAV is correct on every file, decord as listed in the table."""
    settings, with_decord = TABLE[name]
    path = write_clip(clips / f"table-{name}", NUM_FRAMES, **settings)
    if name == "edit-list.mp4":
        set_edit_start(path, 0.5)
    info = probe(path)
    plan = plan_frames(info, NUM_SAMPLED)
    truth = [NUM_FRAMES - info.num_frames + index for index in plan.indices]
    assert info.num_frames == (33 if name == "edit-list.mp4" else NUM_FRAMES)
    assert numbers(info, plan, "pyav") == truth
    if not HAS_DECORD:
        with_decord = ERROR
    if with_decord == ERROR:
        with pytest.raises(VideoError, match=r"decord can.*; .*use the decoder pyav"):
            numbers(info, plan, "decord")
    else:
        assert (numbers(info, plan, "decord") == truth) == (with_decord == CORRECT)


def numbers(info: VideoInfo, plan: FramePlan, decoder: str) -> list[int]:
    batches = decode_frames(info.path, plan, info=info, decoder=decoder)
    return [read_number(picture) for batch in batches for picture in batch.pixels]


def test_same_pixels_as_decord(clips: Path) -> None:
    """For a file that both decode correctly, all pixels equal the reference's."""
    path = write_clip(clips / "equal.mp4", 24, options={"preset": "veryfast"}, size=(322, 182))
    plan = plan_frames(probe(path), 6)
    ours = np.concatenate([batch.pixels for batch in decode_frames(path, plan)])
    assert ours.shape == (6, 182, 322, 3)
    if HAS_DECORD:
        theirs = np.concatenate([batch.pixels for batch in decode_frames(path, plan, decoder="decord")])
        np.testing.assert_array_equal(ours, theirs)
        together = decord_get_batch(path, plan)
        np.testing.assert_array_equal(theirs, together)


def decord_get_batch(path: Path, plan: FramePlan) -> np.ndarray:
    """The reference's call, in a subprocess, since decord may hang."""
    code = "import decord, sys; r = decord.VideoReader(sys.argv[1], ctx=decord.cpu(0));"
    code += "sys.stdout.buffer.write(r.get_batch([int(i) for i in sys.argv[2:]]).asnumpy().tobytes())"
    out = subprocess.run(
        [sys.executable, "-c", code, str(path), *map(str, plan.indices)], check=True, capture_output=True, timeout=60
    )
    return np.frombuffer(out.stdout, dtype=np.uint8).reshape(plan.num_frames, 182, 322, 3)


def test_probe_counts_as_decord_does(clips: Path) -> None:
    """decord counts frames that an edit list cuts, which affects the reference's choice of frames."""
    path = clips / "count.mp4"
    set_edit_start(write_clip(path, 60, options=X264), 0.5)
    assert probe(path).num_frames == 45
    if HAS_DECORD:
        info = probe(path, decoder="decord")
        assert info.num_frames > 45
        assert plan_frames(info, 2).indices == (0, info.num_frames - 1)
