"""Overlap of decoding and prefill: the sum of both alone against the combined run, when both take equally long.

The bundled model runs the prefill. Each setup runs in its own process: with one core for decoding and one for prefill,
which resembles prefill on a GPU, and with both on all cores. Run it with `python -m bench.overlap`.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench import rows
from bench.process import ProcessFailed, run_in_process

if TYPE_CHECKING:
    from longva_demo.chat import VideoSource

NUM_FRAMES, FPS = 1024, 25
SMALL, LARGE = 10, 30  # sizes that are decoded for calibration; size k is 32 k × 18 k pixels
SIZES = (4, 48)  # smallest and largest size that may be chosen
RUNS = 3
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # the default of GNU's OpenMP


def make_clip(path: str, size: int) -> None:
    from bench.clips import write_clip

    write_clip(Path(path), NUM_FRAMES / FPS, FPS, 32 * size, 18 * size)


def use_cores(cores: set[int]) -> None:
    """Pin this thread, and the threads and processes that it starts later, to `cores`."""
    os.sched_setaffinity(0, cores)


def prepare(path: str, is_split: bool) -> "tuple[Callable[[int], VideoSource], Callable[[VideoSource], None]]":
    """Two functions, both warmed up: one starts decoding a number of frames, the other prefills the bundled model."""
    import torch

    from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
    from longva_demo.model import load
    from longva_demo.parallel import available_cpus
    from longva_demo.settings import Settings
    from longva_demo.video import plan_frames, probe

    decode_cores = prefill_cores = None
    if is_split:
        if not hasattr(os, "sched_setaffinity") or available_cpus() < 2:
            raise SystemExit("pinning decoding and prefill to one core each requires Linux and two cores")
        decode_cores, prefill_cores = ({core} for core in sorted(os.sched_getaffinity(0))[:2])
        torch.set_num_threads(1)
        use_cores(prefill_cores)
    engine, info = LocalEngine(load("tiny"), Settings()), probe(path)

    def start(num_frames: int) -> VideoSource:
        source = VideoSource(info, plan_frames(info, num_frames), engine.processor)
        if decode_cores and prefill_cores:
            use_cores(decode_cores)
        source.prefetch()
        if prefill_cores:
            use_cores(prefill_cores)
        return source

    def prefill(source: VideoSource) -> None:
        session = ChatSession(engine, is_shared=False)
        session.set_source(source)
        for _ in session.ask("Is there a red circle?", Sampling(max_new_tokens=1)):
            pass
        session.close()

    prefill(start(16))
    return start, prefill


def decode(source: "VideoSource") -> "VideoSource":
    """Wait until all frames are decoded."""
    while not source.complete:
        time.sleep(0.002)
    return source


def measure(path: str, is_split: bool, runs: int) -> dict[str, float]:
    """Median seconds of decoding alone, of prefill alone (with frames decoded beforehand), and of both combined."""
    import numpy as np

    start, prefill = prepare(path, is_split)
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        source = decode(start(NUM_FRAMES))
        decoded = time.perf_counter()
        prefill(source)
        ended = time.perf_counter()
        prefill(start(NUM_FRAMES))
        seconds.append((decoded - began, ended - decoded, time.perf_counter() - ended))
    return dict(zip(("decoding", "prefill", "combined"), np.median(seconds, axis=0).tolist(), strict=True))


def measure_part(path: str, part: str, barrier: str) -> float:
    """Seconds of "decoding" or "prefill" on its own core. Starts once both processes have a file in `barrier`."""
    start, prefill = prepare(path, is_split=True)
    decoded = decode(start(NUM_FRAMES)) if part == "prefill" else None
    Path(barrier, part).touch()
    while sum(1 for _ in Path(barrier).iterdir()) < 2:
        time.sleep(0.001)
    began = time.perf_counter()
    if decoded:
        prefill(decoded)
    else:
        decode(start(NUM_FRAMES))
    return time.perf_counter() - began


def measure_parts(path: str) -> float:
    """Seconds until both are done in two independent processes: the upper bound of this machine."""
    with TemporaryDirectory() as barrier, ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(run_in_process, "bench.overlap:measure_part", path=path, part=part, barrier=barrier)
            for part in ("decoding", "prefill")
        ]
        return max(run.result() for run in runs)


def balanced_size(small: dict[str, float], large: dict[str, float]) -> int:
    """The size at which decoding takes as long as prefill, assuming that decoding is linear in the pixels.

    >>> balanced_size({"decoding": 1.0, "prefill": 3.0}, {"decoding": 5.0, "prefill": 3.0})
    22
    """
    slope = (large["decoding"] - small["decoding"]) / (LARGE**2 - SMALL**2)
    target = (small["prefill"] + large["prefill"]) / 2
    squared = SMALL**2 + (target - small["decoding"]) / max(slope, 1e-9)
    return round(min(max(squared, SIZES[0] ** 2), SIZES[1] ** 2) ** 0.5)


def report(path: str, size: int, is_split: bool) -> None:
    where = "one core each" if is_split else f"sharing {os.cpu_count()} cores"
    what = f"decoding and prefill of {NUM_FRAMES:,} frames of {32 * size} × {18 * size}, {where}"
    try:
        one = run_in_process("bench.overlap:measure", path=path, is_split=is_split, runs=RUNS)
    except ProcessFailed as error:
        rows.add(what, f"not measured: {error}", "", "")
        return
    parts = one["decoding"] + one["prefill"]
    baseline = f"{one['decoding']:.2f} s decoding + {one['prefill']:.2f} s prefill"
    rows.add(what, baseline, f"{one['combined']:.2f} s", rows.times(parts, one["combined"]))
    if is_split:
        limit = median(measure_parts(path) for _ in range(RUNS))
        rows.add(f"{what}, in two independent processes", baseline, f"{limit:.2f} s", rows.times(parts, limit))
    else:
        spinning = run_in_process("bench.overlap:measure", SPINNING, path=path, is_split=False, runs=RUNS)["combined"]
        baseline = f"{spinning:.2f} s with spinning threads (PyTorch's default)"
        rows.add(what, baseline, f"{one['combined']:.2f} s", rows.times(spinning, one["combined"]))


def main() -> None:
    is_split = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mp4")
        found = []
        for size in (SMALL, LARGE):
            run_in_process("bench.overlap:make_clip", path=path, size=size)
            found.append(run_in_process("bench.overlap:measure", path=path, is_split=is_split, runs=1))
            print(f"{32 * size} × {18 * size}: " + ", ".join(f"{name} {s:.2f} s" for name, s in found[-1].items()))
        size = balanced_size(*found)
        run_in_process("bench.overlap:make_clip", path=path, size=size)
        print()
        report(path, size, is_split=True)
        report(path, size, is_split=False)


if __name__ == "__main__":
    main()
