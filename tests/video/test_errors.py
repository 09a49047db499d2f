"""Unreadable files are rejected in one line that ends with a remedy, and never make FFmpeg open other files."""

import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, FrameBatch, FramePlan, decode_frames, file_sha256, plan_frames, probe
from tests.video.clips import find_box, write_clip, write_sound_only


def error_line(path: Path | str, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(VideoError) as caught:
        probe(path, limits)
    line = str(caught.value)
    assert "\n" not in line
    assert "; " in line
    return line


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(50_000))


def without_index(path: Path) -> None:
    """An MP4 without a moov box, as after a power failure during recording."""
    write_clip(path, 30)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


def unknown_codec(path: Path) -> None:
    write_clip(path, 10)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))


def encrypted(path: Path) -> None:
    key = {"encryption_key": "76a6c65c5ea762046bd749a2e632ccbb", "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    write_clip(path, 30, container_options={"encryption_scheme": "cenc-aes-ctr", **key})


def nothing_decodable(path: Path) -> None:
    write_clip(path, 30)
    data = bytearray(path.read_bytes())
    start = find_box(bytes(data), b"mdat")
    size = struct.unpack_from(">I", data, start - 8)[0] - 8
    data[start : start + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)


def picture(path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(path, format="PNG")


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.mp4": (lambda path: path.touch(), r"is empty \(0 bytes\); upload it again"),
    "text.mp4": (lambda path: path.write_text("just a letter\n" * 50), "is a text file or a playlist"),
    "noise.mp4": (random_bytes, "is not a readable video"),
    "no-index.mp4": (without_index, "is an MP4 without a readable index"),
    "sound.mp4": (write_sound_only, "has audio but no video track; choose a file with a video track"),
    "unknown.mp4": (unknown_codec, "uses a video codec that is not supported"),
    "encrypted.mp4": (encrypted, r"is encrypted \(copy protection\); choose a file without"),
    "undecodable.mp4": (nothing_decodable, r"no frame of undecodable.mp4 can be decoded \(damaged"),
    "picture.mp4": (picture, r"is a picture \(PNG\), not a video; ask about it as a picture"),
}


@pytest.mark.parametrize("name", FILES)
def test_unreadable_files(name: str, tmp_path: Path) -> None:
    write, line = FILES[name]
    write(tmp_path / name)
    assert re.search(line, error_line(tmp_path / name))


def test_no_such_file(tmp_path: Path) -> None:
    assert error_line(tmp_path / "gone.mp4").startswith("gone.mp4 does not exist; check the path")
    assert "does not exist" in error_line("http://127.0.0.1:9/clip.mp4")
    assert "cannot be read" in error_line("nul\0byte.mp4")


def test_not_a_file(tmp_path: Path) -> None:
    assert "is a folder; choose a video file" in error_line(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in error_line(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{other}</BaseURL></Period></MPD>',
    ],
    ids=["hls", "concat", "sdp", "dash"],
)
@pytest.mark.parametrize("padding", [b"", b"\0" * 2048], ids=["text", "with zeros"])
def test_playlists_open_nothing(text: str, padding: bytes, tmp_path: Path, plain_clip: Path) -> None:
    """Rejected as text, and by the demuxer list if padded to look binary."""
    path = tmp_path / "list.mp4"
    path.write_bytes(text.format(other=plain_clip).encode() + padding)
    error_line(path)


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "pipe:0", "clip%03d.mp4", "-i.mp4", "ünï ☃.mp4", "data:,x.mp4"])
def test_unusual_file_names(name: str, tmp_path: Path, plain_clip: Path) -> None:
    """A file name that looks like a URL, a pattern or an option is still a file name."""
    path = tmp_path / name
    path.write_bytes(plain_clip.read_bytes())
    assert probe(path).num_frames == 120


def test_external_references_are_not_followed(tmp_path: Path, plain_clip: Path) -> None:
    """A QuickTime file may refer to another file for its data; that file is not opened."""
    data = plain_clip.read_bytes()
    inside = b"\x00\x00\x00\x0curl \x00\x00\x00\x01"
    assert inside in data
    outside = tmp_path / "reference.mp4"
    outside.write_bytes(data.replace(inside, b"\x00\x00\x00\x0curl \x00\x00\x00\x00"))
    info = probe(outside)  # the flag alone changes nothing: the data still comes from this file
    assert info.num_frames == 120


def test_limits_on_the_file(plain_clip: Path) -> None:
    size = plain_clip.stat().st_size
    line = error_line(plain_clip, DecodeLimits(max_size_bytes=size - 1))
    assert "above the limit" in line
    assert "raise the limit" in line
    line = error_line(plain_clip, DecodeLimits(max_duration_seconds=3.0))
    assert "0.1 minutes long, above the limit" in line
    line = error_line(plain_clip, DecodeLimits(max_frame_pixels=320 * 240 - 1))
    assert "320 × 240 pixels; convert it" in line


def test_absurd_dimensions(tmp_path: Path) -> None:
    """A GIF of a few KB that claims 65,535 × 65,535 pixels would unpack to 17 GB."""
    path = write_clip(tmp_path / "bomb.gif", 2, codec="gif", pix_fmt="rgb8", fps=10)
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, 6, 65_535, 65_535)
    path.write_bytes(data)
    assert "no frame of bomb.gif can be decoded (damaged, or larger than 37,748,736 pixels" in error_line(path)


def test_limits_check_themselves() -> None:
    with pytest.raises(VideoError, match="0 is not a valid chunk_bytes; use a number above 0"):
        DecodeLimits(chunk_bytes=0)


def test_unknown_decoder(plain_clip: Path) -> None:
    with pytest.raises(VideoError, match="'ffmpeg' is not a valid decoder; use pyav or decord"):
        probe(plain_clip, decoder="ffmpeg")


def test_plan_of_another_video(plain_clip: Path) -> None:
    plan = FramePlan((0, 500), (0.0, 16.0), 0.0, 20.0)
    with pytest.raises(VideoError, match=r"frame 500 is out of range: plain.mp4 has 120 frames"):
        decode_frames(plain_clip, plan)


def test_file_changed_after_probe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "changing.mp4", 20)
    info = probe(path)
    write_clip(path, 30)
    with pytest.raises(VideoError, match="has changed since it was opened; open it again"):
        decode_frames(path, plan_frames(info, 4), info=info)


def test_an_identical_copy_is_unchanged(plain_clip: Path, tmp_path: Path) -> None:
    file, again = tmp_path / "clip.mp4", tmp_path / "again.mp4"
    shutil.copyfile(plain_clip, file)
    info = probe(file)
    shutil.copyfile(plain_clip, again)
    os.utime(again, ns=(1, 1))
    again.replace(file)
    batches = list(decode_frames(file, plan_frames(info, 3), info=info))
    assert sum(len(batch) for batch in batches) == 3
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(VideoError, match="has changed since it was opened"):
        list(decode_frames(file, plan_frames(info, 3), info=info))


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(VideoError, match="cannot be read"):
        file_sha256(tmp_path / "gone")


def test_batch_checks_itself() -> None:
    pixels = np.zeros((2, 4, 6, 3), dtype=np.uint8)
    assert repr(FrameBatch(pixels, (0.0, 0.5), (0, 1))) == "FrameBatch(pixels=(2, 4, 6, 3) uint8, 0.000–0.500 s)"
    with pytest.raises(AssertionError):
        FrameBatch(pixels, (0.0,), (0,))
    with pytest.raises(AssertionError):
        FrameBatch(pixels.astype(np.float32), (0.0, 0.5), (0, 1))
