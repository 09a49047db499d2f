"""Create videos with frame numbers burnt in, and read the numbers back from decoded pixels."""

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from longva_demo.video import decode_frames, plan_frames, probe

BITS = 16
WIDTH, HEIGHT = 320, 240
NOBODY = 65534  # user id


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 (height, width, 3): the number as 16 bars across the top half, inverted in the bottom half.

    A moving diagonal band gives the encoder motion to predict.
    """
    bits = np.array([number >> shift & 1 for shift in range(BITS)], dtype=np.uint8) * 255
    columns = bits[np.arange(width) * BITS // width]
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[: height // 2] = columns[None, :, None]
    picture[height // 2 :] = 255 - columns[None, :, None]
    rows, cols = np.mgrid[0:height, 0:width]
    band = (rows + cols + 7 * number) % 97 < 9
    middle = (rows > height * 0.42) & (rows < height * 0.58)
    picture[band & middle] = (40, 160, 220)
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number burnt into a decoded frame; -1 if it is unreadable, as in a rotated or damaged frame."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    patches = (centres[:, None] + np.arange(-3, 4)).ravel()
    top, bottom = (
        picture[row - 5 : row + 6, patches].reshape(11, BITS, 7, 3).mean(axis=(0, 2, 3))
        for row in (height // 5, height * 4 // 5)
    )
    if (np.abs(top - bottom) < 60).any():
        return -1
    return int(sum(1 << position for position in range(BITS) if top[position] > bottom[position]))


def open_encoder(context: av.VideoCodecContext) -> None:
    """Open the encoder as an unprivileged user: as root, SVT-AV1 permanently sets real-time priority for its own and
    the calling thread, and two such test processes starve each other."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        context.open()
    finally:
        if is_root:
            os.seteuid(0)


def write_clip(
    path: Path,
    num_frames: int = 60,
    *,
    codec: str = "libx264",
    fps: int = 30,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Callable[[int], float] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    audio_seconds: float = 0.0,
    turns: int = 0,
    pictures: Callable[[int], np.ndarray] | None = None,
    pixels: str = "rgb24",
) -> Path:
    """Encode numbered pictures; `times(i)` is the time in seconds of frame i (default i / fps).

    Or encode `pictures(i)`, arrays in FFmpeg's format `pixels`.

    `turns` is the number of counterclockwise quarter turns by which the frames are stored.
    """
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stored = size[::-1] if turns % 2 else size
        stream.width, stream.height, stream.pix_fmt = *stored, pix_fmt
        stream.codec_context.time_base = time_base or Fraction(1, fps)
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        open_encoder(stream.codec_context)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio_seconds else None
        for position in range(num_frames):
            picture = pictures(position) if pictures else np.rot90(numbered_picture(position, *size), turns)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=pixels)
            seconds = times(position) if times else position / fps
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(seconds / frame.time_base)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            write_tone(output, sound, audio_seconds)
    return path


def write_tone(output: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for start in range(0, round(16000 * seconds), 1024):
        wave = (np.sin(np.arange(start, start + 1024) * 0.1) * 0.2).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def write_sound_only(path: Path, seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as output:
        write_tone(output, output.add_stream("aac", rate=16000, layout="mono"), seconds)
    return path


def repeat_clip(path: Path, num_frames: int, fps: int = 15) -> Path:
    """A long Matroska file next to `path` that repeats its packets, without encoding. For clips without B-frames."""
    target = path.with_suffix(".long.mkv")
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video=0) if packet.size]
        for number in range(num_frames):
            data, is_key = packets[number % len(packets)]
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, fps)
            packet.pts = packet.dts = number
            packet.is_keyframe = is_key
            output.mux(packet)
    return target


def find_box(data: bytes, name: bytes) -> int:
    """Offset of the payload of the first MP4 box of that name."""
    position = data.index(name)
    return position + 4


def set_edit_start(path: Path, seconds: float) -> Path:
    """Move the start of the only edit in an MP4's edit list by `seconds` of media time."""
    data = bytearray(path.read_bytes())
    timescale = struct.unpack_from(">I", data, find_box(bytes(data), b"mdhd") + 12)[0]
    movie_scale = struct.unpack_from(">I", data, find_box(bytes(data), b"mvhd") + 12)[0]
    entry = find_box(bytes(data), b"elst") + 8
    duration, media_time = struct.unpack_from(">Ii", data, entry)
    struct.pack_into(
        ">Ii", data, entry, duration - round(seconds * movie_scale), media_time + round(seconds * timescale)
    )
    path.write_bytes(data)
    return path


def repeat_parts(path: Path, parts: list[tuple[float, float]]) -> Path:
    """Give an MP4 with a single track an edit list of several (start, length) parts, in seconds."""
    data = bytearray(path.read_bytes())
    timescale = struct.unpack_from(">I", data, find_box(bytes(data), b"mdhd") + 12)[0]
    movie_scale = struct.unpack_from(">I", data, find_box(bytes(data), b"mvhd") + 12)[0]
    first = struct.unpack_from(">i", data, find_box(bytes(data), b"elst") + 12)[0]  # media time of the first frame
    entries = b"".join(
        struct.pack(">Iii", round(length * movie_scale), first + round(start * timescale), 0x10000)
        for start, length in parts
    )
    elst = b"elst" + struct.pack(">II", 0, len(parts)) + entries
    old = find_box(bytes(data), b"elst") - 8
    grown = len(elst) + 4 - struct.unpack_from(">I", data, old)[0]
    data[old : old + struct.unpack_from(">I", data, old)[0]] = struct.pack(">I", len(elst) + 4) + elst
    for name in (b"moov", b"trak", b"edts"):
        size = data.index(name) - 4
        struct.pack_into(">I", data, size, struct.unpack_from(">I", data, size)[0] + grown)
    path.write_bytes(data)
    return path


def decoded(path: Path) -> tuple[dict[int, int], list[str]]:
    """Return ({frame index: burnt-in number}, all notes)."""
    info = probe(path)
    numbers, notes = {}, list(info.notes)
    for batch in decode_frames(path, plan_frames(info, 10_000), info=info):
        numbers.update(zip(batch.indices, map(read_number, batch.pixels), strict=True))
        notes += batch.notes
    return numbers, notes
