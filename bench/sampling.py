"""Sampling frames from a 1080p clip: decord as the reference uses it, torchcodec and plain PyAV against ours.

    python -m bench.sampling [--seconds 120] [--frames 32 128] [--structure default|open|hevc|keyframes] [--video FILE]

Each way runs in a process of its own. Counted are the CPU seconds of all its threads and children, and its peak
memory: of ours, the peaks of the consumer and of the worker added up, shared pages counted in both. Ours probes and
decodes through the public interface. Every way gives every frame at full size, as the reference does. Importing the
libraries is not timed, but what they take is in the memory.
"""

import argparse
import importlib
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench import rows
from bench.process import NotRun, apart, cpu_seconds, peak_bytes

STRUCTURES: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("libx264", {"preset": "veryfast", "bf": "3"}),  # key frames up to 250 apart, B-frames
    "open": ("libx264", {"preset": "veryfast", "x264-params": "open-gop=1:keyint=60:bframes=3"}),
    "keyframes": ("libx264", {"preset": "veryfast", "g": "30", "bf": "3"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
}
MAX_APART = 0.3  # grey levels on average between one frame by two ways; neighbours in the made clip differ by 0.6 up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--frames", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--structure", choices=STRUCTURES, default="default", help="how the clip is coded")
    parser.add_argument("--video", type=Path, help="a video of your own, in place of the made clip")
    options = parser.parse_args()
    path = options.video or made_clip(options.seconds, options.structure)
    print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB\n")
    print("| frames | way | CPU s | wall s | peak MB | frames as ours (grey levels apart at most) |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        link_ffmpeg(Path(folder))
        found = {frames: measure_all(str(path), frames, folder) for frames in options.frames}
    print()
    for frames, results in found.items():
        compare(frames, results)


def measure_all(path: str, num_frames: int, libraries: str) -> dict[str, dict[str, Any] | str]:
    """What each way used, or why it did not run; a line of the table each."""
    results: dict[str, dict[str, Any] | str] = {}
    ours = apart("bench.sampling:measure", way="ours", path=path, num_frames=num_frames)
    for way in WAYS:
        try:
            one = ours if way == "ours" else run(way, path, num_frames, libraries)
        except NotRun as error:
            results[way] = str(error)
            print(f"| {num_frames} | {way} | {error} | | | |", flush=True)
            continue
        results[way] = one
        apart_by = np.abs(np.array(one["seen"]) - ours["seen"]).mean(axis=1)
        same = int((apart_by < MAX_APART).sum())
        cells = (
            f"{one['cpu']:.2f} | {one['wall']:.2f} | {one['mb']:,.0f} | {same} of {num_frames} ({apart_by.max():.2f})"
        )
        print(f"| {num_frames} | {way} | {cells} |", flush=True)
    return results


def run(way: str, path: str, num_frames: int, libraries: str) -> dict[str, Any]:
    environment = {"LD_LIBRARY_PATH": libraries} if way == "torchcodec" else None
    return apart("bench.sampling:measure", environment, way=way, path=path, num_frames=num_frames)


def compare(num_frames: int, results: dict[str, dict[str, Any] | str]) -> None:
    ours = results.pop("ours")
    assert isinstance(ours, dict)
    for way, other in results.items():
        what = f"{num_frames} frames of 1080p"
        if isinstance(other, str):
            rows.add(what, f"{way}: not measured ({other})", "", "")
            continue
        for unit, name in (("cpu", "CPU s"), ("wall", "wall s"), ("mb", "peak MB")):
            digits = 0 if unit == "mb" else 1
            mine, theirs = (f"{one[unit]:,.{digits}f}" for one in (ours, other))
            rows.add(f"{what}, {name}", f"{way}: {theirs}", mine, rows.times(other[unit], ours[unit]))


def link_ffmpeg(folder: Path) -> None:
    """PyAV's copy of FFmpeg under the names that torchcodec looks for, which otherwise needs one installed.

    `libavutil-5809ad29.so.60.26.102` becomes `libavutil.so.60`, beside itself, as the copies look for each other.
    """
    package = find_spec("av")
    assert package is not None
    assert package.origin is not None
    for library in (Path(package.origin).parents[1] / "av.libs").glob("lib*.so*"):
        (folder / library.name).symlink_to(library)
        if library.name.startswith(("libav", "libsw")):
            name, _, version = library.name.partition(".so.")
            (folder / f"{name.split('-')[0]}.so.{version.split('.')[0]}").symlink_to(library)


def measure(way: str, path: str, num_frames: int) -> dict[str, Any]:
    """Run one way in this process; CPU of this process and its ended children, from the imports on."""
    importlib.import_module(LIBRARIES[way])
    before, began = cpu_seconds(), time.monotonic()
    seen = WAYS[way](path, num_frames)
    cpu, wall = cpu_seconds() - before, time.monotonic() - began
    assert len(seen) == num_frames, (len(seen), num_frames)
    return {"cpu": cpu, "wall": wall, "mb": sum(peak_bytes()) / 1e6, "seen": seen}


def glimpse(pixels: np.ndarray) -> list[list[int]]:
    """A few of the grey levels of each of (frames, height, width, 3): to see whether two ways give the same frame."""
    return pixels[:, ::64, ::64].reshape(len(pixels), -1).tolist()


def sample_with_decord(path: str, num_frames: int) -> list[list[int]]:
    """As the reference samples: all frames in one full-size array."""
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0))
    return glimpse(reader.get_batch(evenly(len(reader), num_frames)).asnumpy())


def sample_with_torchcodec(path: str, num_frames: int) -> list[list[int]]:
    """With its defaults: exact seeking, one thread."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC")
    return glimpse(decoder.get_frames_at(evenly(len(decoder), num_frames)).data.numpy())


def sample_with_pyav(path: str, num_frames: int) -> list[list[int]]:
    """The obvious way: decode every frame from the start, keep those that are wanted."""
    import av

    with av.open(path) as container:
        wanted = set(evenly(container.streams.video[0].frames, num_frames))
        frames = enumerate(container.decode(video=0))
        kept = [frame.to_ndarray(format="rgb24") for number, frame in frames if number in wanted]
    return glimpse(np.stack(kept))


def sample_with_ours(path: str, num_frames: int) -> list[list[int]]:
    from longva_demo.video import decode_frames, plan_frames, probe

    info = probe(path)
    batches = decode_frames(path, plan_frames(info, num_frames), info=info)
    return [frame for batch in batches for frame in glimpse(batch.pixels)]


WAYS = {
    "decord": sample_with_decord,
    "torchcodec": sample_with_torchcodec,
    "plain PyAV": sample_with_pyav,
    "ours": sample_with_ours,
}


LIBRARIES = {
    "decord": "decord",
    "torchcodec": "torchcodec.decoders",
    "plain PyAV": "av",
    "ours": "longva_demo.video",
}


def evenly(total: int, num_frames: int) -> list[int]:
    """Frame numbers, the first and the last among them, as the reference spreads them."""
    return np.linspace(0, total - 1, num_frames, dtype=int).tolist()


def made_clip(seconds: int, structure: str) -> Path:
    """The clip, kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"longva-bench-{structure}-{seconds}s.mp4"
    if not path.exists():
        print(f"making {path.name} …", file=sys.stderr)
        apart("bench.sampling:make_clip", path=str(path), seconds=seconds, structure=structure)
    return path


def make_clip(path: str, seconds: int, structure: str) -> None:
    """A 1080p clip at 30 frames a second: a textured landscape under a wandering camera, and moving discs."""
    import av

    from bench.clips import scene, textured

    codec, settings = STRUCTURES[structure]
    landscape = textured(1400, 2600)
    partial = Path(path).with_suffix(".part.mp4")
    with av.open(str(partial), "w") as output:
        stream = output.add_stream(codec, rate=30, options=settings)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(seconds * 30):
            frame = av.VideoFrame.from_ndarray(scene(landscape, number), format="yuv420p")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    partial.rename(path)


if __name__ == "__main__":
    main()
