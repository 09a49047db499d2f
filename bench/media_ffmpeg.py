"""Decodes a file with the ffmpeg program: every frame in order, on one thread."""

import json
import re
import shutil
import subprocess
import threading
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

# Text, ANSI art and playlists: ffmpeg renders or follows them, and this project rejects them.
NOT_VIDEOS = {"tty", "bin", "xbin", "adf", "idf", "hls", "concat", "dash", "sdp", "lavfi", "ffmetadata"}
HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
# FFmpeg's default decoders of these codecs ignore transparency.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
MAX_ASPECT = 4
NUM_PACKETS = 60
CLOCK = re.compile(rb"config in time_base: (\d+)/(\d+)")
FRAME = re.compile(rb"\] n: *\d+ pts: *(\S+) .* fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+)")
TRANSFER = re.compile(rb"color_trc:(\S+)")


@dataclass
class Decoded:
    """ffmpeg's output: the time of each frame, how often each size occurred, and the requested frames."""

    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: dict[int, np.ndarray] = field(default_factory=dict)  # by frame number, uint8 (height, width, 3)
    transfers: set[str] = field(default_factory=set)
    last_line: str = ""

    @property
    def num_frames(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class Track:
    """The video track that is compared: its index among all streams, its codec, and the number of video tracks."""

    index: int
    codec: str
    has_hidden_alpha: bool
    num_tracks: int


def is_installed() -> bool:
    return all(shutil.which(name) for name in ("ffmpeg", "ffprobe"))


def find_track(path: Path) -> Track | str:
    """The largest video track that is not cover art, or a line that says why there is none."""
    command = ["ffprobe", "-v", "error", "-protocol_whitelist", "file", "-show_streams", "-show_format", "-of", "json"]
    ended = subprocess.run([*command, f"file:{path}"], check=False, capture_output=True)
    try:
        found: dict[str, Any] = json.loads(ended.stdout.decode(errors="replace"))
    except ValueError:  # on failure, ffprobe's output is incomplete
        found = {}
    container = found.get("format", {}).get("format_name", "")
    if NOT_VIDEOS & set(container.split(",")):
        return f"{container}: text or a playlist"
    videos = [stream for stream in found.get("streams", []) if stream.get("codec_type") == "video"]
    tracks = [stream for stream in videos if not stream["disposition"]["attached_pic"]]
    if not tracks:
        return last_line(ended.stderr) or "no video track"
    best = max(tracks, key=lambda stream: stream.get("width", 0) * stream.get("height", 0))
    codec = best.get("codec_name", "")
    hidden = codec in ALPHA_DECODERS and best.get("tags", {}).get("alpha_mode") == "1"
    return Track(best["index"], codec, hidden, len(tracks))


def has_times(path: Path, track: Track) -> bool:
    """Whether any of the first packets has a presentation time; AVI stores only decoding times."""
    command = ["ffprobe", "-v", "error", "-protocol_whitelist", "file", "-select_streams", str(track.index)]
    command += ["-read_intervals", f"%+#{NUM_PACKETS}", "-show_entries", "packet=pts", "-of", "csv=p=0"]
    ended = subprocess.run([*command, f"file:{path}"], check=False, capture_output=True)
    return any(line[:1].isdigit() or line[:1] == b"-" for line in ended.stdout.splitlines())


def decode(path: Path, track: Track, small: tuple[int, int], wanted: Callable[[int], bool]) -> Decoded:
    """Decode the whole track with ffmpeg's rotation, and keep the wanted frames, scaled and blended with white."""
    width, height = small
    decoder = ["-c:v", ALPHA_DECODERS[track.codec]] if track.has_hidden_alpha else []
    filters = f"showinfo=checksum=0,scale={width}:{height}:flags=bilinear:interl=-1"
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-v", "info", "-threads", "1", "-copyts"]
    command += ["-protocol_whitelist", "file", *decoder, "-i", f"file:{path}", "-map", f"0:{track.index}"]
    command += ["-fps_mode", "passthrough", "-vf", filters, "-pix_fmt", "rgba", "-f", "rawvideo", "pipe:1"]
    decoded = Decoded()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        log = threading.Thread(target=read_log, args=(process.stderr, decoded))
        log.start()
        number = 0
        while len(data := process.stdout.read(width * height * 4)) == width * height * 4:
            if wanted(number):
                decoded.pixels[number] = on_white(np.frombuffer(data, dtype=np.uint8).reshape(height, width, 4))
            number += 1
        log.join()
    return decoded


def read_log(log: IO[bytes], decoded: Decoded) -> None:
    """Parse times and sizes from ffmpeg's log. Works line by line, since the log of a long video is large."""
    base = 0.0
    for line in log:
        if frame := FRAME.search(line):
            pts, _, *numbers = frame.groups()
            across, down, width, height = map(int, numbers)
            decoded.seconds.append(float("nan") if pts == b"NOPTS" else int(pts) * base)
            decoded.sizes[square_size(width, height, Fraction(across, down or 1))] += 1
        elif clock := CLOCK.search(line):
            base = int(clock[1]) / int(clock[2])
        elif transfer := TRANSFER.search(line):
            decoded.transfers.add(transfer[1].decode(errors="replace"))
        elif b"Parsed_showinfo" not in line and line.strip():
            decoded.last_line = last_line(line)


def last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines() or [""]
    return lines[-1].strip()[:160]


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size after enlarging one side to make pixels square, as browsers do.

    >>> square_size(720, 576, Fraction(16, 11)), square_size(720, 576, Fraction(8, 9)), square_size(64, 48, Fraction(0))
    ((1047, 576), (720, 648), (64, 48))
    """
    if not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Blend with white: uint8 (height, width, 4) to (height, width, 3)."""
    opacity = rgba[..., 3:].astype(np.float32) / 255
    return np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
