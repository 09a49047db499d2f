"""How well `find` tells when something is shown: drawn clips of 1 to 10 minutes through H.264, with the built-in model.

In a clip of shots, one thing ("a red star") appears up to three times, for 0.5 to 20 seconds each. Reports how well the
found ranges cover the true ones, how many appearances are found, how often nothing is found where there is nothing, and
how exact the edges are. Also compares the time of 256 windows with that of reading 256 frames once. Run it with
`python -m bench.find`; for fewer clips, `--clips 20`.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import av
import numpy as np

from bench import rows
from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
from longva_demo.model import load
from longva_demo.moments import NUM_FRAMES, Moments, Range, Search, find_moments
from longva_demo.settings import Settings
from longva_demo.tiny.draw import draw
from longva_demo.tiny.phrases import article
from longva_demo.tiny.scenes import (
    COLOUR_NAMES,
    SHAPES,
    VISIBLE_COLOURS,
    Mix,
    Scene,
    Thing,
    paint,
    place,
    random_scene,
    random_thing,
)
from longva_demo.video import VideoInfo, plan_frames, probe

SIDE, FPS, SEED = 168, 10, 24_500_000
MINUTES, SHOT_SECONDS, APPEARANCE_SECONDS, MAX_APPEARANCES = (1.0, 10.0), (2.0, 20.0), (0.5, 20.0), 3
MIN_PAUSE_SECONDS = 3.0  # between two appearances
TIMED_RUNS = 3
TARGETS = {"overlap": 0.85, "found": 0.95, "absent": 0.97, "edges": 0.9, "time": 2.0}
Kind = tuple[int, int]  # shape, colour
Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Clip:
    """Scenes, one per frame at FPS; what is looked for, when it is shown, and something that never is."""

    scenes: list[Scene]
    query: str
    spans: Spans
    absent_query: str


def name_of(kind: Kind) -> str:
    return article(f"{COLOUR_NAMES[kind[1]]} {SHAPES[kind[0]]}")


def random_spans(rng: random.Random, num_frames: int, count: int) -> list[tuple[int, int]]:
    """Frames [first, last) of appearances, ascending, with pauses between them."""
    while True:
        lengths = [round(FPS * rng.uniform(*APPEARANCE_SECONDS)) for _ in range(count)]
        starts = sorted(rng.randrange(num_frames) for _ in range(count))
        spans = [(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        pause = round(FPS * MIN_PAUSE_SECONDS)
        bounds = [-pause, *(frame for span in spans for frame in span), num_frames]
        if all(
            bounds[at + 1] - bounds[at] >= (pause if at < len(bounds) - 2 else 0) for at in range(0, len(bounds), 2)
        ):
            return spans


def random_shot(rng: random.Random, kinds: Sequence[Kind], colour: int) -> Scene:
    """A scene without the things of these kinds, on which a thing of this colour is visible and has room."""
    while True:
        scene = random_scene(rng, Mix())
        has_kind = any((thing.shape, thing.colour) in kinds for thing in scene.things)
        if not has_kind and colour in VISIBLE_COLOURS[scene.background] and free_cells(scene):
            return scene


def free_cells(scene: Scene) -> list[int]:
    """Cells whose neighbourhood in the scene has room for one more thing."""
    large = any(thing.radius > 0.19 for thing in scene.things)
    taken = {thing.cell for thing in scene.things}
    if scene.sign is not None:
        taken |= {3 * scene.sign.row + column for column in range(3)}
    return [] if large else [cell for cell in range(9) if cell not in taken]


def random_target(rng: random.Random, kind: Kind) -> Thing:
    thing = random_thing(rng, 0, Mix(bare_share=0.0))
    return replace(thing, shape=kind[0], colour=kind[1], rgb=paint(rng, kind[1]))


def random_clip(rng: random.Random) -> Clip:
    kinds = rng.sample([(s, c) for s in range(len(SHAPES)) for c in range(len(COLOUR_NAMES))], 2)
    num_frames = round(FPS * 60 * rng.uniform(*MINUTES))
    spans = random_spans(rng, num_frames, rng.randint(0, MAX_APPEARANCES))
    targets = [random_target(rng, kinds[0]) for _ in spans]
    scenes: list[Scene] = []
    while len(scenes) < num_frames:
        shot = random_shot(rng, kinds, kinds[0][1])
        cell, length = rng.choice(free_cells(shot)), round(FPS * rng.uniform(*SHOT_SECONDS))
        placed = [replace(shot, things=(*shot.things, place(rng, target, cell, 0.3))) for target in targets]
        for at in range(len(scenes), min(num_frames, len(scenes) + length)):
            shown = next((number for number, (first, last) in enumerate(spans) if first <= at < last), None)
            scenes.append(shot if shown is None else placed[shown])
    seconds = [(first / FPS, last / FPS) for first, last in spans]
    return Clip(scenes, name_of(kinds[0]), seconds, name_of(kinds[1]))


def write_scenes(path: Path, scenes: Sequence[Scene]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        last, image = None, np.zeros((SIDE, SIDE, 3), np.uint8)
        for scene in scenes:
            image = image if scene is last else draw(scene, SIDE)
            last = scene
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def overlap(found: Spans, true: Spans) -> float:
    """Intersection over union in time; 1 if both are empty.

    >>> overlap([(0.0, 4.0)], [(2.0, 4.0), (8.0, 10.0)])
    0.3333333333333333
    """
    bounds = sorted({bound for span in (*found, *true) for bound in span})
    both = either = 0.0
    for left, right in pairwise(bounds):
        inside = [any(start <= left and right <= end for start, end in spans) for spans in (found, true)]
        both += (right - left) * all(inside)
        either += (right - left) * any(inside)
    return both / either if either else 1.0


@dataclass
class Tally:
    """One entry per clip, appearance, query without one, or edge."""

    overlaps: list[float] = field(default_factory=list)
    is_found: list[bool] = field(default_factory=list)  # of appearances longer than the sampling step
    num_short: int = 0  # others
    is_absent: list[bool] = field(default_factory=list)
    edge_errors: list[float] = field(default_factory=list)  # seconds
    num_false: int = 0  # ranges in which it is not shown
    seconds: list[float] = field(default_factory=list)

    def add(self, clip: Clip, found: Sequence[Range], step: float) -> None:
        spans = [(one.start, one.end) for one in found]
        self.overlaps.append(overlap(spans, clip.spans))
        self.num_false += sum(all(end <= low or high <= start for low, high in clip.spans) for start, end in spans)
        for low, high in clip.spans:
            matches = [(start, end) for start, end in spans if start < high and low < end]
            if high - low <= step:
                self.num_short += 1
            else:
                self.is_found.append(bool(matches))
            if matches:
                self.edge_errors += [abs(matches[0][0] - low), abs(matches[-1][1] - high)]


def search(engine: LocalEngine, source: VideoSource, query: str) -> Moments:
    *_, last = find_moments(engine, source, Search(query), lambda: False)
    return last


def measure(engine: LocalEngine, path: Path, clip: Clip, tally: Tally, verbose: bool) -> None:
    info = probe(path)
    source = VideoSource(info, plan_frames(info, NUM_FRAMES), engine.processor)
    started = time.perf_counter()
    found = search(engine, source, clip.query)
    tally.seconds.append(time.perf_counter() - started)
    tally.add(clip, found.ranges, source.plan.seconds_between)
    nothing = search(engine, source, clip.absent_query)
    tally.is_absent.append(not nothing.ranges)
    if not clip.spans:
        tally.is_absent.append(not found.ranges)
    source.close()
    if verbose:
        spans = ", ".join(f"{low:.1f}-{high:.1f}" for low, high in clip.spans)
        ranges = ", ".join(f"{one.start:.1f}-{one.end:.1f} ({one.score:.2f})" for one in found.ranges)
        wrong = ", ".join(f"{one.start:.1f}-{one.end:.1f} ({one.score:.2f})" for one in nothing.ranges)
        print(f"{tally.overlaps[-1]:.2f} {clip.query}: [{spans}] found [{ranges}]", end="")
        print(f"; {clip.absent_query}: [{wrong}]" if wrong else "", flush=True)


def time_windows(engine: LocalEngine, info: VideoInfo, query: str) -> tuple[float, float]:
    """Seconds to read NUM_FRAMES frames once, and to ask about as many windows; both with decoding."""

    def seconds_of(use_windows: bool) -> float:
        source = VideoSource(info, plan_frames(info, NUM_FRAMES), engine.processor)
        session = ChatSession(engine, is_shared=False)
        started = time.perf_counter()
        if use_windows:
            search(engine, source, query)
        else:
            session.set_source(source)
            list(session.ask("What do you see?", Sampling(max_new_tokens=1)))
        taken = time.perf_counter() - started
        session.close()
        source.close()
        return taken

    runs = [(seconds_of(False), seconds_of(True)) for _ in range(TIMED_RUNS)]
    return median(run[0] for run in runs), median(run[1] for run in runs)


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


def report(tally: Tally, reading: float, asking: float) -> None:
    exact = share([error <= 0.5 for error in tally.edge_errors])
    num_clips, num_long, num_absent = len(tally.overlaps), len(tally.is_found), len(tally.is_absent)
    figures = [
        (f"overlap (IoU) with the true ranges, mean of {num_clips} clips", float(np.mean(tally.overlaps)), "overlap"),
        (f"appearances longer than a sampling step that are found ({num_long})", share(tally.is_found), "found"),
        (f"nothing found where there is nothing ({num_absent} searches)", share(tally.is_absent), "absent"),
        (f"edges within 0.5 s ({len(tally.edge_errors)})", exact, "edges"),
    ]
    print(f"\n{tally.num_short} appearances were shorter than a step; {tally.num_false} ranges show something else")
    error, seconds = median(tally.edge_errors or [0.0]), median(tally.seconds)
    print(f"edges: median error {error:.2f} s; search: {seconds:.1f} s per clip")
    for what, value, target in figures:
        rows.add(f"find: {what}", f"≥ {TARGETS[target]} (aim)", f"{value:.3f}", "–")
    what = f"find: {NUM_FRAMES} windows, beside reading {NUM_FRAMES} frames once (aim: at most {TARGETS['time']:g} ×)"
    rows.add(what, f"{reading:.2f} s", f"{asking:.2f} s", rows.times(reading, asking))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--verbose", action="store_true", help="print each clip")
    options = parser.parse_args()
    engine = LocalEngine(load("tiny"), Settings())
    tally = Tally()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for number in range(options.clips):
            clip = random_clip(random.Random(options.seed + number))
            write_scenes(path, clip.scenes)
            measure(engine, path, clip, tally, options.verbose)
        reading, asking = time_windows(engine, probe(path), clip.query)
    report(tally, reading, asking)


if __name__ == "__main__":
    main()
