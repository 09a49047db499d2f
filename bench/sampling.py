"""Sampling frames from a 1080p clip: this project against decord as the original demo uses it, torchcodec and PyAV.

    python -m bench.sampling [--seconds 120] [--frames 32 128] [--structure default|open|hevc|keyframes] [--video FILE]

Each implementation runs in its own process and returns every frame at full size, as the original does. Reported are
the CPU seconds of all threads and children, and peak memory. This project probes and decodes through its public
interface; its peak is the sum of the consumer's and the worker's, which counts shared pages twice. Importing the
libraries is not timed, but their memory counts.
"""

import argparse
import importlib
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench import rows
from bench.process import ProcessFailed, cpu_seconds, peak_bytes, run_in_process

THIS = "this project"
STRUCTURES: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("libx264", {"preset": "veryfast", "bf": "3"}),  # key frames up to 250 run_in_process, B-frames
    "open": ("libx264", {"preset": "veryfast", "x264-params": "open-gop=1:keyint=60:bframes=3"}),
    "keyframes": ("libx264", {"preset": "veryfast", "g": "30", "bf": "3"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
}
# Mean difference in grey levels up to which two frames count as the same; neighbours in the generated clip differ by
# 0.6 or more.
MAX_DIFFERENCE = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--frames", type=int, nargs="+", default=[32, 128])
    parser.add_argument(
        "--structure", choices=STRUCTURES, default="default", help="GOP structure and codec of the clip"
    )
    parser.add_argument("--video", type=Path, help="use this video instead of the generated clip")
    options = parser.parse_args()
    path = options.video or generated_clip(options.seconds, options.structure)
    print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB\n")
    print("| frames | decoder | CPU s | wall s | peak MB | same frames as this project (largest difference) |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        link_ffmpeg(Path(folder))
        found = {frames: measure_all(str(path), frames, folder) for frames in options.frames}
    print()
    for frames, results in found.items():
        compare(frames, results)


def measure_all(path: str, num_frames: int, libraries: str) -> dict[str, dict[str, Any] | str]:
    """Measure each decoder and print a table row for it. Returns the figures, or why it did not run."""
    results: dict[str, dict[str, Any] | str] = {}
    ours = run_in_process("bench.sampling:measure", decoder=THIS, path=path, num_frames=num_frames)
    for decoder in DECODERS:
        try:
            one = ours if decoder == THIS else run(decoder, path, num_frames, libraries)
        except ProcessFailed as error:
            results[decoder] = str(error)
            print(f"| {num_frames} | {decoder} | {error} | | | |", flush=True)
            continue
        results[decoder] = one
        differences = np.abs(np.array(one["thumbnails"]) - ours["thumbnails"]).mean(axis=1)
        same = f"{int((differences < MAX_DIFFERENCE).sum())} of {num_frames} ({differences.max():.2f})"
        print(
            f"| {num_frames} | {decoder} | {one['cpu']:.2f} | {one['wall']:.2f} | {one['mb']:,.0f} | {same} |",
            flush=True,
        )
    return results


def run(decoder: str, path: str, num_frames: int, libraries: str) -> dict[str, Any]:
    environment = {"LD_LIBRARY_PATH": libraries} if decoder == "torchcodec" else None
    return run_in_process("bench.sampling:measure", environment, decoder=decoder, path=path, num_frames=num_frames)


def compare(num_frames: int, results: dict[str, dict[str, Any] | str]) -> None:
    ours = results.pop(THIS)
    assert isinstance(ours, dict)
    for decoder, baseline in results.items():
        what = f"{num_frames} frames of 1080p"
        if isinstance(baseline, str):
            rows.add(what, f"{decoder}: not measured ({baseline})", "", "")
            continue
        for unit, name in (("cpu", "CPU s"), ("wall", "wall s"), ("mb", "peak MB")):
            digits = 0 if unit == "mb" else 1
            mine, theirs = (f"{one[unit]:,.{digits}f}" for one in (ours, baseline))
            rows.add(f"{what}, {name}", f"{decoder}: {theirs}", mine, rows.times(baseline[unit], ours[unit]))


def link_ffmpeg(folder: Path) -> None:
    """Link PyAV's copy of FFmpeg under the names that torchcodec expects, so that FFmpeg need not be installed.

    `libavutil-5809ad29.so.60.26.102` becomes `libavutil.so.60`. The original names are linked too, since the libraries
    load each other by them.
    """
    package = find_spec("av")
    assert package is not None
    assert package.origin is not None
    for library in (Path(package.origin).parents[1] / "av.libs").glob("lib*.so*"):
        (folder / library.name).symlink_to(library)
        if library.name.startswith(("libav", "libsw")):
            name, _, version = library.name.partition(".so.")
            (folder / f"{name.split('-')[0]}.so.{version.split('.')[0]}").symlink_to(library)


def measure(decoder: str, path: str, num_frames: int) -> dict[str, Any]:
    """Run one decoder in this process. Measures the process and its finished children, after the imports."""
    importlib.import_module(LIBRARIES[decoder])
    before, began = cpu_seconds(), time.monotonic()
    thumbnails = DECODERS[decoder](path, num_frames)
    cpu, wall = cpu_seconds() - before, time.monotonic() - began
    assert len(thumbnails) == num_frames, (len(thumbnails), num_frames)
    return {"cpu": cpu, "wall": wall, "mb": sum(peak_bytes()) / 1e6, "thumbnails": thumbnails}


def thumbnails_of(pixels: np.ndarray) -> list[list[int]]:
    """Every 64th pixel of (frames, height, width, 3), to check whether two decoders return the same frames."""
    return pixels[:, ::64, ::64].reshape(len(pixels), -1).tolist()


def sample_with_decord(path: str, num_frames: int) -> list[list[int]]:
    """As in the original demo: all frames in one full-size array."""
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0))
    return thumbnails_of(reader.get_batch(evenly(len(reader), num_frames)).asnumpy())


def sample_with_torchcodec(path: str, num_frames: int) -> list[list[int]]:
    """With torchcodec's defaults: exact seeking, one thread."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC")
    return thumbnails_of(decoder.get_frames_at(evenly(len(decoder), num_frames)).data.numpy())


def sample_with_pyav(path: str, num_frames: int) -> list[list[int]]:
    """The straightforward implementation: decode every frame from the start and keep the sampled ones."""
    import av

    with av.open(path) as container:
        wanted = set(evenly(container.streams.video[0].frames, num_frames))
        frames = enumerate(container.decode(video=0))
        kept = [frame.to_ndarray(format="rgb24") for number, frame in frames if number in wanted]
    return thumbnails_of(np.stack(kept))


def sample_here(path: str, num_frames: int) -> list[list[int]]:
    from longva_demo.video import decode_frames, plan_frames, probe

    info = probe(path)
    batches = decode_frames(path, plan_frames(info, num_frames), info=info)
    return [frame for batch in batches for frame in thumbnails_of(batch.pixels)]


DECODERS = {
    "decord": sample_with_decord,
    "torchcodec": sample_with_torchcodec,
    "plain PyAV": sample_with_pyav,
    THIS: sample_here,
}


LIBRARIES = {
    "decord": "decord",
    "torchcodec": "torchcodec.decoders",
    "plain PyAV": "av",
    THIS: "longva_demo.video",
}


def evenly(total: int, num_frames: int) -> list[int]:
    """Evenly spaced frame numbers including the first and the last, as in the original demo."""
    return np.linspace(0, total - 1, num_frames, dtype=int).tolist()


def generated_clip(seconds: int, structure: str) -> Path:
    """Generate the clip, or reuse it from the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"longva-bench-{structure}-{seconds}s.mp4"
    if not path.exists():
        print(f"generating {path.name} …", file=sys.stderr)
        run_in_process("bench.sampling:make_clip", path=str(path), seconds=seconds, structure=structure)
    return path


def make_clip(path: str, seconds: int, structure: str) -> None:
    """A 1080p clip at 30 fps: a camera that wanders over a textured landscape, and moving discs."""
    import av

    from bench.clips import scene, textured

    codec, settings = STRUCTURES[structure]
    landscape = textured(1400, 2600)
    partial = Path(path).with_suffix(".part.mp4")
    with av.open(str(partial), "w") as output:
        stream = cast(av.VideoStream, output.add_stream(codec, rate=30, options=settings))
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(seconds * 30):
            frame = av.VideoFrame.from_ndarray(scene(landscape, number), format="yuv420p")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    partial.rename(path)


if __name__ == "__main__":
    main()
