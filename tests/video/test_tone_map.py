"""Tone mapping of HDR videos; colour matrix and range of SDR videos."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from longva_demo.video import decode_frames, plan_frames, probe
from longva_demo.video.tone_map import BT709, BT2020, HLG, PQ, to_srgb
from tests.video.clips import open_encoder

PATCHES = np.array(
    [
        (235, 235, 235), (20, 20, 20), (200, 40, 40), (40, 160, 60),
        (50, 70, 200), (220, 200, 60), (128, 128, 128), (0, 0, 0),
    ]
)  # fmt: skip
# ITU-R BT.2087: linear BT.709 to linear BT.2020.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
SIZE = (320, 160)


def linear(srgb: np.ndarray) -> np.ndarray:
    signal = srgb / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def pq(nits: np.ndarray) -> np.ndarray:
    """Light to signal, BT.2100 table 4."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(nits: np.ndarray) -> np.ndarray:
    """Light on a 1,000 cd/m² display to signal, BT.2100 table 5: display to scene, scene to signal."""
    display = nits / 1000
    luminance = display @ np.array([0.2627, 0.6780, 0.0593])
    scene = display * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    logarithm = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithm)


def patches(colours: np.ndarray) -> np.ndarray:
    """Eight colours in two rows of four, as one picture."""
    width, height = SIZE
    return np.repeat(np.repeat(colours.reshape(2, 4, 3), height // 2, axis=0), width // 4, axis=1)


def middle_of_patches(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    rows, columns = height // 4, width // 8
    return np.array([picture[rows * (1 + 2 * (k // 4)), columns * (1 + 2 * (k % 4))] for k in range(8)]).astype(int)


def write_tagged(
    path: Path, picture: np.ndarray, codec: str, pix_fmt: str, space: int, trc: int, limited: bool
) -> Path:
    """Two frames of a uint16 picture, coded with the matrix `space` (BT.709 1, BT.601 5, BT.2020 9), and tagged so.

    With B-frames, x265 writes random decoding times into so short a video.
    """
    with av.open(str(path), "w") as output:
        options = {"crf": "4"} | ({"x265-params": "log-level=none:bframes=0"} if codec == "libx265" else {})
        stream = output.add_stream(codec, rate=5, options=options)
        stream.width, stream.height, stream.pix_fmt = SIZE[0], SIZE[1], pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_range = space, trc, 1 if limited else 2
        context.color_primaries = {1: 1, 5: 6, 9: 9}[space]
        open_encoder(context)
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb48le").reformat(
                format=pix_fmt, dst_colorspace={1: "ITU709", 5: "ITU601", 9: "BT2020"}[space],
                dst_color_range="MPEG" if limited else "JPEG",
            )  # fmt: skip
            frame.color_trc, frame.color_primaries, frame.pts = trc, context.color_primaries, number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def first_frame(path: Path) -> np.ndarray:
    info = probe(path)
    return next(decode_frames(path, plan_frames(info, 1), info=info)).pixels[0]


@pytest.mark.parametrize(("trc", "signal", "name"), [(PQ, pq, "PQ"), (HLG, hlg, "HLG")])
@pytest.mark.parametrize("file", ["hdr.mp4", "hdr.mkv"])
def test_hdr_video(file: str, trc: int, signal: Callable[[np.ndarray], np.ndarray], name: str, clips: Path) -> None:
    """Colours up to reference white (203 cd/m²) are preserved."""
    light = np.maximum(linear(PATCHES) @ TO_BT2020.T, 0) * 203
    picture = patches(np.round(signal(light) * 65535).astype(np.uint16))
    codec = "libx265" if file.endswith("mp4") else "libsvtav1"
    path = write_tagged(clips / f"{name}-{file}", picture, codec, "yuv420p10le", 9, trc, limited=True)
    info = probe(path)
    assert info.notes == (f"The video is HDR ({name}); it is tone-mapped to SDR.",)
    assert np.abs(middle_of_patches(first_frame(path)) - PATCHES).max() <= 6
    small = next(decode_frames(path, plan_frames(info, 1), info=info, size=(160, 80))).pixels[0]
    assert np.abs(middle_of_patches(small) - PATCHES).max() <= 6


def test_highlights_stay_distinct() -> None:
    """Up to 10,000 cd/m², values rise without clipping early, and colours keep their hue."""
    nits = np.geomspace(100, 10_000, 50)
    for trc, signal, peak in ((PQ, pq, 10_000), (HLG, hlg, 1000)):
        bright = nits[nits <= peak]
        grey = np.repeat(signal(np.repeat(bright[:, None], 3, axis=1))[None], 2, axis=0)
        out = to_srgb(np.round(grey * 65535).astype(np.uint16), trc, BT2020)[0].astype(int)
        assert (np.ptp(out, axis=1) <= 1).all()
        assert (np.diff(out[:, 0]) >= 0).all()
        assert 230 <= out[np.argmin(np.abs(bright - 203)), 0] < 250
        assert out[-1, 0] > 250
    red = np.array([[[500.0, 50.0, 50.0]]])
    mapped = linear(to_srgb(np.round(pq(red) * 65535).astype(np.uint16), PQ, BT709))[0, 0]
    assert mapped[0] / mapped[1] == pytest.approx(10, rel=0.05)


def test_wide_gamut_without_hdr() -> None:
    """BT.2020 with an SDR curve: BT.709 colours coded in it are restored."""
    inside = np.maximum(linear(PATCHES) @ TO_BT2020.T, 0)
    coded = np.where(inside <= 0.0031308, inside * 12.92, 1.055 * inside ** (1 / 2.4) - 0.055)
    out = to_srgb(np.round(coded[None] * 65535).astype(np.uint16), 14, BT2020)
    assert np.abs(out[0].astype(int) - PATCHES).max() <= 2


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("space", [1, 5, 9])
def test_matrix_and_range_follow_the_tags(space: int, limited: bool, clips: Path) -> None:
    """Colours are preserved, whichever matrix and range the file declares."""
    picture = patches((PATCHES * 257).astype(np.uint16))
    trc = 1 if space != 9 else 14
    path = write_tagged(clips / f"space{space}{limited}.mp4", picture, "libx264", "yuv444p", space, trc, limited)
    expected = PATCHES if space != 9 else to_srgb((PATCHES[None] * 257).astype(np.uint16), 14, BT2020)[0].astype(int)
    assert np.abs(middle_of_patches(first_frame(path)) - expected).max() <= 6


def test_untagged_videos_are_decoded_as_by_ffmpeg(clips: Path) -> None:
    """Without tags, FFmpeg assumes BT.601 and limited range at any size."""
    path = clips / "untagged.mp4"
    write_tagged(path, patches((PATCHES * 257).astype(np.uint16)), "libx264", "yuv444p", 5, 1, limited=True)
    plain = clips / "plain-tags.mp4"
    with av.open(str(path)) as source, av.open(str(plain), "w") as output:
        stream = output.add_stream("libx264", rate=5, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv444p"
        for frame in source.decode(video=0):
            large = frame.reformat(1280, 720)
            large.colorspace, large.color_range, large.color_trc, large.color_primaries = 2, 0, 2, 2
            large.pts = frame.pts
            output.mux(stream.encode(large))
        output.mux(stream.encode(None))
    assert np.abs(middle_of_patches(first_frame(plain)) - PATCHES).max() <= 6
