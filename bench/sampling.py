"""Sampling frames from a 1080p clip: the reference's way with decord against ours, side by side in one run.

    python -m bench.sampling [--seconds 120] [--frames 32 128] [--structure default|open|hevc|keyframes] [--video FILE]

Each way runs in a process of its own. Counted are the CPU seconds of all its threads and children, and its peak
memory: of ours, the peaks of the consumer and of the worker added up, shared pages counted in both. Ours probes and
decodes through the public interface and receives every frame at full size, as the reference does.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STRUCTURES: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("libx264", {"preset": "veryfast", "bf": "3"}),  # key frames up to 250 apart, B-frames
    "open": ("libx264", {"preset": "veryfast", "x264-params": "open-gop=1:keyint=60:bframes=3"}),
    "keyframes": ("libx264", {"preset": "veryfast", "g": "30", "bf": "3"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU seconds and peak memory of sampling: decord against ours")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--frames", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--structure", choices=STRUCTURES, default="default", help="how the clip is coded")
    parser.add_argument("--video", type=Path, help="a video of your own, in place of the made clip")
    parser.add_argument("--run", choices=["decord", "ours", "make"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run == "make":
        make_clip(options.video, options.seconds, options.structure)
        return
    if options.run:
        print(json.dumps(measure(options.run, options.video, options.frames[0])))
        return
    path = options.video or made_clip(options.seconds, options.structure)
    print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")
    print("| frames | decord: CPU s | wall s | peak MB | ours: CPU s | wall s | peak MB | CPU ratio | memory ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for num_frames in options.frames:
        decord, ours = (run(way, path, num_frames) for way in ("decord", "ours"))
        cells = [f"{one['cpu']:.2f} | {one['wall']:.2f} | {one['mb']:.0f}" for one in (decord, ours)]
        ratios = f"{ours['cpu'] / decord['cpu']:.2f} | {ours['mb'] / decord['mb']:.2f}"
        print(f"| {num_frames} | {cells[0]} | {cells[1]} | {ratios} |", flush=True)


def run(way: str, path: Path, num_frames: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--run", way, "--video", str(path)]
    output = subprocess.run(
        [*command, "--frames", str(num_frames)], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    return json.loads(output.splitlines()[-1])


def measure(way: str, path: Path, num_frames: int) -> dict[str, float]:
    """Run one way in this process; CPU of this process and its ended children, without Python's own start."""
    sys.path.insert(0, str(ROOT))
    before, began = cpu_seconds(), time.monotonic()
    received = sample_with_decord(path, num_frames) if way == "decord" else sample_with_ours(path, num_frames)
    assert received == num_frames, (received, num_frames)
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux KB
    return {"cpu": cpu_seconds() - before, "wall": time.monotonic() - began, "mb": (own + child) / unit}


def cpu_seconds() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def sample_with_decord(path: Path, num_frames: int) -> int:
    """As the reference samples: all frames in one full-size array."""
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0))
    indices = np.linspace(0, len(reader) - 1, num_frames, dtype=int)
    return len(reader.get_batch(indices.tolist()).asnumpy())


def sample_with_ours(path: Path, num_frames: int) -> int:
    from longva_demo.video import decode_frames, plan_frames, probe

    info = probe(path)
    batches = decode_frames(path, plan_frames(info, num_frames), info=info)
    return sum(len(batch) for batch in batches)


def made_clip(seconds: int, structure: str) -> Path:
    """The clip, kept in the temporary folder. Another process makes it: Linux hands a process's peak memory on to
    the programs that it starts, so that this one must stay small."""
    path = Path(tempfile.gettempdir()) / f"longva-bench-{structure}-{seconds}s.mp4"
    if not path.exists():
        print(f"making {path.name} …", file=sys.stderr)
        command = [sys.executable, str(Path(__file__).resolve()), "--run", "make", "--video", str(path)]
        subprocess.run([*command, "--seconds", str(seconds), "--structure", structure], check=True, cwd=ROOT)
    return path


def make_clip(path: Path, seconds: int, structure: str) -> None:
    """A 1080p clip at 30 frames a second: a textured landscape under a wandering camera, and moving discs."""
    import av

    codec, settings = STRUCTURES[structure]
    landscape = textured(1400, 2600)
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as output:
        stream = output.add_stream(codec, rate=30, options=settings)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(seconds * 30):
            frame = av.VideoFrame.from_ndarray(scene(landscape, number), format="yuv420p")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    partial.rename(path)


def textured(height: int, width: int) -> np.ndarray:
    """uint8 (height, width): noise at several scales, like foliage and clouds."""
    random = np.random.default_rng(0)
    total = np.zeros((height, width))
    for scale, strength in ((128, 60), (32, 30), (8, 12), (2, 5)):
        coarse = random.standard_normal((height // scale + 2, width // scale + 2))
        total += strength * np.kron(coarse, np.ones((scale, scale)))[:height, :width]
    return np.clip(128 + total, 0, 255).astype(np.uint8)


def scene(landscape: np.ndarray, number: int) -> np.ndarray:
    """uint8 (1620, 1920): the planes of one 4:2:0 picture."""
    top = 160 + int(140 * np.sin(number / 190))
    left = 300 + int(280 * np.sin(number / 310))
    picture = np.full((1620, 1920), 128, dtype=np.uint8)
    picture[:1080] = landscape[top : top + 1080, left : left + 1920]
    for disc in range(6):
        row = int(540 + 400 * np.sin(number / 47 + disc))
        column = int(960 + 800 * np.cos(number / 61 + 2 * disc))
        picture[row - 60 : row + 60, column - 60 : column + 60] = 30 + 36 * disc
    return picture


if __name__ == "__main__":
    main()
