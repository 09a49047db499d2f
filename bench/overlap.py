"""Decoding and reading at the same time: the sum of both alone against the whole, where they take equally long.

Reading is the bundled model's. Each way runs in a process of its own: with one core for decoding and one for reading,
as a machine has that reads on a GPU, and with both on all cores. Run it with `python -m bench.overlap`.
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
from bench.process import NotRun, apart

if TYPE_CHECKING:
    from longva_demo.chat import VideoSource

NUM_FRAMES, FPS = 1024, 25
SMALL, LARGE = 10, 30  # sizes that the calibration decodes; size k is 32 k × 18 k pixels
SIZES = (4, 48)  # least and most that it may choose
RUNS = 3
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # what GNU's OpenMP takes where nothing is said


def make_clip(path: str, size: int) -> None:
    from bench.clips import write_clip

    write_clip(Path(path), NUM_FRAMES / FPS, FPS, 32 * size, 18 * size)


def use_cores(cores: set[int]) -> None:
    """For this thread, and the threads and processes that it starts."""
    os.sched_setaffinity(0, cores)


def prepare(path: str, is_split: bool) -> "tuple[Callable[[int], VideoSource], Callable[[VideoSource], None]]":
    """What begins the decoding of so many frames of the file, and what reads them with the bundled model; both warm."""
    import torch

    from longva_demo.chat import ChatSession, Engine, Sampling, VideoSource
    from longva_demo.model import load
    from longva_demo.parallel import available_cpus
    from longva_demo.settings import Settings
    from longva_demo.video import plan_frames, probe

    for_decoding = for_reading = None
    if is_split:
        if not hasattr(os, "sched_setaffinity") or available_cpus() < 2:
            raise SystemExit("it takes two cores, and Linux, to give each a core of its own")
        for_decoding, for_reading = ({core} for core in sorted(os.sched_getaffinity(0))[:2])
        torch.set_num_threads(1)
        use_cores(for_reading)
    engine, info = Engine(load("tiny"), Settings()), probe(path)

    def start(num_frames: int) -> VideoSource:
        source = VideoSource(info, plan_frames(info, num_frames), engine.processor)
        if for_decoding and for_reading:
            use_cores(for_decoding)
        source.fill()
        if for_reading:
            use_cores(for_reading)
        return source

    def read(source: VideoSource) -> None:
        session = ChatSession(engine, is_shared=False)
        session.set_source(source)
        for _ in session.ask("Is there a red circle?", Sampling(max_new_tokens=1)):
            pass
        session.close()

    read(start(16))
    return start, read


def decode(source: "VideoSource") -> "VideoSource":
    """Wait for all of its frames."""
    while not source.complete:
        time.sleep(0.002)
    return source


def measure(path: str, is_split: bool, runs: int) -> dict[str, float]:
    """Median seconds of decoding alone, of reading alone (the frames decoded beforehand), and of both together."""
    import numpy as np

    start, read = prepare(path, is_split)
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        source = decode(start(NUM_FRAMES))
        decoded = time.perf_counter()
        read(source)
        ended = time.perf_counter()
        read(start(NUM_FRAMES))
        seconds.append((decoded - began, ended - decoded, time.perf_counter() - ended))
    return dict(zip(("decoding", "reading", "whole"), np.median(seconds, axis=0).tolist(), strict=True))


def measure_part(path: str, part: str, meeting: str) -> float:
    """Seconds of "decoding" or "reading" on a core of its own, begun when another process has come to the meeting."""
    start, read = prepare(path, is_split=True)
    decoded = decode(start(NUM_FRAMES)) if part == "reading" else None
    Path(meeting, part).touch()
    while sum(1 for _ in Path(meeting).iterdir()) < 2:
        time.sleep(0.001)
    began = time.perf_counter()
    if decoded:
        read(decoded)
    else:
        decode(start(NUM_FRAMES))
    return time.perf_counter() - began


def measure_parts(path: str) -> float:
    """Seconds until both are done in two processes that share nothing: what the machine allows."""
    with TemporaryDirectory() as meeting, ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(apart, "bench.overlap:measure_part", path=path, part=part, meeting=meeting)
            for part in ("decoding", "reading")
        ]
        return max(run.result() for run in runs)


def balanced_size(small: dict[str, float], large: dict[str, float]) -> int:
    """The size at which decoding would take as long as reading, decoding's time being linear in the pixels.

    >>> balanced_size({"decoding": 1.0, "reading": 3.0}, {"decoding": 5.0, "reading": 3.0})
    22
    """
    slope = (large["decoding"] - small["decoding"]) / (LARGE**2 - SMALL**2)
    target = (small["reading"] + large["reading"]) / 2
    squared = SMALL**2 + (target - small["decoding"]) / max(slope, 1e-9)
    return round(min(max(squared, SIZES[0] ** 2), SIZES[1] ** 2) ** 0.5)


def report(path: str, size: int, is_split: bool) -> None:
    where = "a core each" if is_split else f"both on all {os.cpu_count()} cores"
    what = f"{NUM_FRAMES:,} frames of {32 * size} × {18 * size} decoded and read, {where}"
    try:
        one = apart("bench.overlap:measure", path=path, is_split=is_split, runs=RUNS)
    except NotRun as error:
        rows.add(what, f"not measured: {error}", "", "")
        return
    parts = one["decoding"] + one["reading"]
    other = f"{one['decoding']:.2f} s decoding + {one['reading']:.2f} s reading"
    rows.add(what, other, f"{one['whole']:.2f} s", rows.times(parts, one["whole"]))
    if is_split:
        limit = median(measure_parts(path) for _ in range(RUNS))
        rows.add(f"{what}, in two processes that share nothing", other, f"{limit:.2f} s", rows.times(parts, limit))
    else:
        spinning = apart("bench.overlap:measure", SPINNING, path=path, is_split=False, runs=RUNS)["whole"]
        other = f"{spinning:.2f} s where waiting threads spin (PyTorch's default)"
        rows.add(what, other, f"{one['whole']:.2f} s", rows.times(spinning, one["whole"]))


def main() -> None:
    is_split = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mp4")
        found = []
        for size in (SMALL, LARGE):
            apart("bench.overlap:make_clip", path=path, size=size)
            found.append(apart("bench.overlap:measure", path=path, is_split=is_split, runs=1))
            print(f"{32 * size} × {18 * size}: " + ", ".join(f"{name} {s:.2f} s" for name, s in found[-1].items()))
        size = balanced_size(*found)
        apart("bench.overlap:make_clip", path=path, size=size)
        print()
        report(path, size, is_split=True)
        report(path, size, is_split=False)


if __name__ == "__main__":
    main()
