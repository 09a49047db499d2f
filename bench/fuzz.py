"""Fuzzing: every damaged video or image must open or give a one-line error, within limits of time and memory.

    python -m bench.fuzz --count 2000            # about half an hour on one core
    python -m bench.fuzz --only 417              # repeat one case
    python -m bench.fuzz --kinds png webp tiff   # only these kinds

Small videos of ten kinds and images of nine kinds are damaged at random (bytes, ranges, headers of other files, sizes
in boxes, truncation). Each is then opened like an upload: as an image, or probed and decoded. A file that neither opens
nor gives a one-line error is saved in build/fuzz, and the exit code is 1.
"""

import argparse
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import psutil
from PIL import Image

from longva_demo.errors import DemoError
from longva_demo.video import DecodeLimits, decode_frames, plan_frames, probe
from longva_demo.video.still import is_picture, open_image

SEED = 9_700_000
OUT = Path("build/fuzz")
# Tighter than the page's limits, so that a violation shows early.
LIMITS = DecodeLimits(timeout_seconds=60, stall_seconds=20, memory_bytes=1024**3, max_frame_pixels=4096 * 4096)
GRACE_SECONDS = 10.0
MAX_GROWTH = 200e6  # bytes by which this process may grow per file
VIDEOS: dict[str, tuple[str, str, str]] = {  # file extension: codec, pixel format, container
    "mp4": ("libx264", "yuv420p", "mp4"),
    "mov": ("mjpeg", "yuvj420p", "mov"),
    "mkv": ("libx265", "yuv420p", "matroska"),
    "webm": ("libvpx-vp9", "yuv420p", "webm"),
    "avi": ("mpeg4", "yuv420p", "avi"),
    "ts": ("libx264", "yuv420p", "mpegts"),
    "flv": ("flv", "yuv420p", "flv"),
    "mpg": ("mpeg2video", "yuv420p", "mpeg"),
    "gif": ("gif", "rgb8", "gif"),
    "av1.mp4": ("libsvtav1", "yuv420p", "mp4"),
}
IMAGES: dict[str, dict[str, Any]] = {  # file extension: Pillow's options for saving
    "png": {},
    "jpg": {"progressive": True},
    "webp": {},
    "avif": {},
    "still.gif": {},
    "bmp": {},
    "tiff": {"compression": "tiff_lzw"},
    "ico": {},
    "ppm": {},
}
KINDS = (*VIDEOS, *IMAGES)


def write_original(path: Path, kind: str, seed: int) -> None:
    """Write 64 × 48 pixels of noise: an image, or a video of two seconds in which it moves."""
    noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    if kind in IMAGES:
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: rotated
        Image.fromarray(noise).save(path, exif=exif, **IMAGES[kind])
        return
    codec, pixels, container = VIDEOS[kind]
    with av.open(str(path), "w", format=container) as output:
        stream = cast(av.VideoStream, output.add_stream(codec, rate=Fraction(25)))
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        if codec == "libsvtav1":
            stream.options = {"preset": "12"}
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")
            output.mux(stream.encode(frame.reformat(format=pixels)))
        output.mux(stream.encode())


def flip(data: bytearray, rng: random.Random) -> None:
    """Replace bytes anywhere."""
    for _ in range(2 ** rng.randrange(10)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flip_head(data: bytearray, rng: random.Random) -> None:
    """Replace bytes in the header."""
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(min(len(data), 2048))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, len(data) // 2)]


def repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randint(1, len(data))] * rng.randint(1, 20)


def enlarge(data: bytearray, rng: random.Random) -> None:
    """Write extreme integers, in either byte order, over possible sizes, counts, durations and rates."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(max(1, len(data) - 8))
        value = rng.choice((2**31 - 1, 2**31, 2**32 - 1, 0, 1, 65535, 10**9))
        data[place : place + 4] = struct.pack(rng.choice("<>") + "I", value)


def blank(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    size = min(len(data) - start, rng.randint(1, len(data)))
    data[start : start + size] = bytes(size)


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip,
    flip,
    flip_head,
    flip_head,
    cut,
    remove,
    repeat,
    enlarge,
    enlarge,
    blank,
)


def damaged(originals: dict[str, bytes], number: int) -> tuple[str, bytes, str]:
    """Damage one of the originals. Returns extension, content and description; deterministic in `number`."""
    rng = random.Random(SEED + number)
    kind = rng.choice(tuple(originals))
    data = bytearray(originals[kind])
    done = []
    if rng.random() < 0.15:  # prepend the beginning of a file of another kind
        other = originals[rng.choice(tuple(originals))]
        head = rng.randint(1, min(len(other), 4096))
        data[: rng.choice((0, head))] = other[:head]
        done.append("spliced")
    for _ in range(rng.choice((1, 1, 2, 3))):
        damage = rng.choice(DAMAGES)
        if data:
            damage(data, rng)
        done.append(damage.__name__)
    ending = rng.choice(tuple(originals)) if rng.random() < 0.1 else kind
    return ending, bytes(data), "+".join(done)


def attempt(path: Path) -> str:
    """The outcome: "opened" as an image, "decoded", "decoded in part" or "rejected" in one line. Otherwise raises."""
    try:
        if is_picture(path):
            open_image(path)
            return "opened"
        info = probe(path, LIMITS)
        plan = plan_frames(info, 16)
        count = sum(len(batch) for batch in decode_frames(path, plan, info=info, limits=LIMITS))
    except DemoError as error:
        line = str(error)
        assert "\n" not in line, f"more than one line: {line!r}"
        assert "; " in line, f"no remedy: {line!r}"
        return "rejected"
    return "decoded" if count == plan.num_frames else "decoded in part"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat only this case, with details")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=", ".join(KINDS))
    options = parser.parse_args()
    numbers = [options.only] if options.only is not None else range(options.first, options.first + options.count)
    found: Counter[str] = Counter()
    slowest, bad = 0.0, 0
    process = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="longva-fuzz-") as folder:
        originals = {}
        for kind in options.kinds:
            write_original(Path(folder) / f"original.{kind}", kind, SEED)
            originals[kind] = (Path(folder) / f"original.{kind}").read_bytes()
        for number in numbers:
            ending, data, done = damaged(originals, number)
            path = Path(folder) / f"clip.{ending}"
            path.write_bytes(data)
            started, before = time.monotonic(), process.memory_info().rss
            try:
                outcome = attempt(path)
                seconds, growth = time.monotonic() - started, process.memory_info().rss - before
                assert seconds < LIMITS.timeout_seconds + GRACE_SECONDS, f"{seconds:.0f} s"
                assert growth < MAX_GROWTH, f"{growth / 1e6:.0f} MB more"
                left = [worker for fork_server in process.children() for worker in fork_server.children()]
                assert not left, f"processes left: {left}"
                slowest = max(slowest, seconds)
            except Exception as error:
                bad += 1
                outcome = "FAILED"
                OUT.mkdir(parents=True, exist_ok=True)
                (OUT / f"{number}.{ending}").write_bytes(data)
                print(f"{number} ({ending}, {done}): {type(error).__name__}: {error}", flush=True)
            found[outcome] += 1
            if options.only is not None:
                print(f"{number} ({ending}, {done}): {outcome}")
            elif (number + 1) % 100 == 0:
                print(f"{number + 1}: {dict(found)}, slowest {slowest:.1f} s", flush=True)
            path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # bytes, on Linux
    print(f"{sum(found.values())} files: {dict(found)}, slowest {slowest:.1f} s, peak {peak / 1e6:.0f} MB")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
