"""Videos in picture formats: animated WebP and AVIF, and MJPEG streams."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, decode_frames, make_preview, plan_frames, probe
from longva_demo.video.jpeg_stream import MAX_FRAME_BYTES, is_jpeg_stream
from longva_demo.video.limits import MIB
from longva_demo.video.still import is_picture, open_image
from tests.video.clips import numbered_picture, read_number, write_clip

DURATIONS = [100, 400, 500]  # milliseconds, in turn
NUM_FRAMES = 12


def pictures(count: int = NUM_FRAMES) -> list[Image.Image]:
    return [Image.fromarray(numbered_picture(number)) for number in range(count)]


def write_animation(path: Path, images: list[Image.Image], **options: object) -> Path:
    durations = [DURATIONS[number % 3] for number in range(len(images))]
    images[0].save(path, save_all=True, append_images=images[1:], **{"duration": durations, **options})
    return path


def numbers(path: Path, num_frames: int) -> list[int]:
    info = probe(path)
    batches = decode_frames(path, plan_frames(info, num_frames), info=info)
    return [read_number(picture) for batch in batches for picture in batch.pixels]


@pytest.mark.parametrize("name", ["animation.webp", "animation.avif"])
def test_frames_and_times(name: str, tmp_path: Path) -> None:
    path = write_animation(tmp_path / name, pictures())
    assert not is_picture(path)
    info = probe(path)
    assert (info.num_frames, info.width, info.height, info.notes) == (NUM_FRAMES, 320, 240, ())
    starts = [sum(DURATIONS[earlier % 3] for earlier in range(number)) / 1000 for number in range(NUM_FRAMES)]
    np.testing.assert_allclose(info.frame_seconds, starts, atol=0.0011)
    assert info.duration_seconds == pytest.approx(4.0, abs=0.0011)
    assert numbers(path, NUM_FRAMES) == list(range(NUM_FRAMES))
    assert numbers(path, 3) == [0, 5, 11]
    last = list(make_preview(path, tmp_path / "preview.mp4", info))[-1]
    assert last.is_ready
    assert numbers(tmp_path / "preview.mp4", last.num_frames)[-1] == NUM_FRAMES - 1


@pytest.mark.parametrize("name", ["clear.webp", "clear.avif"])
def test_transparency_is_white(name: str, tmp_path: Path) -> None:
    images = []
    for number in range(3):
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (240, 320, 3), dtype=np.uint8))
        image.putalpha(Image.fromarray(np.where(np.arange(240)[:, None] < 120, 0, 255).repeat(320, 1).astype(np.uint8)))
        images.append(image)
    path = write_animation(tmp_path / name, images, quality=100)
    info = probe(path)
    pixels = next(decode_frames(path, plan_frames(info, 3), info=info)).pixels
    assert (pixels[:, :110] > 250).all()
    assert pixels[:, 130:].std() > 30


def test_zero_durations_are_shown_as_in_browsers(tmp_path: Path) -> None:
    info = probe(write_animation(tmp_path / "quick.webp", pictures(4), duration=0))
    np.testing.assert_allclose(info.frame_seconds, [0, 0.1, 0.2, 0.3])


def test_times_do_not_drift(tmp_path: Path) -> None:
    """At 30 frames per second, each frame lasts 33.33 ms, which Pillow rounds."""
    small = {"size": (64, 64), "options": {"preset": "11"}}
    path = write_clip(tmp_path / "animation.avif", 300, codec="libsvtav1", container="avif", **small)
    info = probe(path)
    np.testing.assert_allclose(info.frame_seconds, np.arange(300) / 30, atol=0.0006)
    assert info.duration_seconds == pytest.approx(10, abs=0.001)


def test_a_damaged_first_frame(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "animation.avif", pictures(3))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as opened:
        packet = next(packet for packet in opened.demux(video=0) if packet.size)
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    with pytest.raises(VideoError) as caught:
        probe(path)
    line = "can be decoded (the file is damaged); convert it to an MP4 with H.264 video and try again"
    assert str(caught.value) == f"no frame of animation.avif {line}"


@pytest.mark.parametrize("name", ["animation.webp", "animation.avif"])
def test_a_truncated_animation_is_rejected_in_one_line(name: str, tmp_path: Path) -> None:
    """Both decoders need the whole file."""
    path = write_animation(tmp_path / name, pictures())
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with pytest.raises(VideoError) as caught:
        probe(path)
    line = "is a damaged animation; convert it to an MP4 with H.264 video and try again"
    assert str(caught.value) == f"{name} {line}"


def test_limits(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "animation.webp", pictures(3))
    with pytest.raises(VideoError, match="has frames of 320 × 240 pixels; convert it to at most 1,000"):
        probe(path, DecodeLimits(max_frame_pixels=1000))
    with pytest.raises(VideoError, match="minutes long, above the limit"):
        probe(path, DecodeLimits(max_duration_seconds=0.5))


def jpeg(number: int, size: tuple[int, int] = (320, 240), **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numbered_picture(number, *size)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("padding", [b"", bytes(7)])
@pytest.mark.parametrize("count", [2, 12])
def test_consecutive_jpegs_are_a_video(count: int, padding: bytes, tmp_path: Path) -> None:
    path = tmp_path / "animation.mjpeg"
    path.write_bytes(b"".join(jpeg(number, progressive=number % 2 == 1) + padding for number in range(count)))
    assert not is_picture(path)
    assert probe(path).num_frames == count
    assert numbers(path, count) == list(range(count))


def test_data_after_a_camera_picture_makes_no_video(tmp_path: Path) -> None:
    """A smaller preview; a second view declared by MPF; an embedded MP4."""
    stereo = jpeg(0)
    segment = b"MPF\0II*\0\x08\0\0\0"
    stereo = stereo[:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + stereo[2:]
    write_clip(tmp_path / "motion.mp4", 3)
    behind = {
        "preview.jpg": jpeg(0) + jpeg(0, (160, 120)),
        "stereo.jpg": stereo + jpeg(1),
        "motion.jpg": jpeg(0) + (tmp_path / "motion.mp4").read_bytes(),
        "plain.jpg": jpeg(0),
        "torn.jpg": jpeg(0)[:-400],
    }
    for name, data in behind.items():
        (tmp_path / name).write_bytes(data)
        assert is_picture(tmp_path / name), name
        if name != "torn.jpg":
            assert read_number(np.asarray(open_image(tmp_path / name))) == 0, name


def test_a_video_may_be_larger_than_the_memory_limit(tmp_path: Path) -> None:
    """The check for MJPEG does not map the whole file."""
    path = write_clip(tmp_path / "large.mp4", 5, container_options={"movflags": "faststart"})
    with path.open("ab") as file:
        file.truncate(600 * MIB)  # a sparse file, which uses no disk space
    assert probe(path, DecodeLimits(memory_bytes=400 * MIB)).num_frames == 5


def test_the_search_for_the_end_of_a_frame_is_bounded(tmp_path: Path) -> None:
    """A second JPEG that starts beyond the limit is not searched for, since a still picture may be large."""
    first = jpeg(0)
    scan = first.index(b"\xff\xda")
    path = tmp_path / "long.jpg"
    for length, is_stream in ((MAX_FRAME_BYTES // 2, True), (MAX_FRAME_BYTES, False)):
        path.write_bytes(first[: scan + 20] + bytes(length) + first[scan + 20 :] + jpeg(1))
        assert is_jpeg_stream(path) == is_stream
