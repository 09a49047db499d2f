"""How well `chapters` finds changes of scene, and whether what it says about each scene is right.

Drawn clips of ten minutes through H.264, with scenes that stand still and scenes in which something moves; and filmed
cuts: photographs over which a camera pans, and pieces of a film, cut together. Drawn scenes that stand still are also
described by the built-in model, whose descriptions must match exactly. Compares the pixels of the samples, which this
project uses, with the features of their frames, and with PySceneDetect on all frames where it is installed:

    pip install --no-deps --target build/scenedetect scenedetect==0.7.2 platformdirs
    PYTHONPATH=build/scenedetect python -m bench.chapters

For fewer clips, `--clips 2`; for one kind of them, `--only filmed`; for fresh ones,
`--first 2`: the thresholds were set on the filmed clips 0 and 1.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from PIL import Image

from bench import rows
from bench.find import FPS, write_scenes
from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.model import load
from longva_demo.moments.chapters import NUM_FRAMES, find_chapters
from longva_demo.settings import Settings
from longva_demo.tiny.clips import motion
from longva_demo.tiny.questions import describe
from longva_demo.tiny.scenes import Mix, Scene, random_scene
from longva_demo.video import plan_frames, probe
from tools.tiny.real_pictures import film, photographs

SECONDS, SHOT_SECONDS, MOVING_SHARE = 600, (3.0, 25.0), 0.3
FILM_SECONDS, FILM_SHOT_SECONDS, FILM_SIZE = 240, (3.0, 15.0), (320, 240)
TOLERANCE_SECONDS = 1.0
SEED = 25_000_000
KINDS = ("drawn", "filmed")
DETECTORS = ("AdaptiveDetector", "ContentDetector")  # of PySceneDetect
TARGETS = {"found": 0.95, "invented": 0.02, "described": 0.95}


@dataclass(frozen=True)
class Shot:
    """From `start` to `end` in seconds; `description` is None unless it stands still."""

    start: float
    end: float
    description: str | None


def drawn_clip(rng: random.Random) -> tuple[list[Scene], list[Shot]]:
    scenes: list[Scene] = []
    shots: list[Shot] = []
    num_frames = FPS * SECONDS
    while len(scenes) < num_frames:
        length = min(round(FPS * rng.uniform(*SHOT_SECONDS)), num_frames - len(scenes))
        start, end = len(scenes) / FPS, (len(scenes) + length) / FPS
        if rng.random() < MOVING_SHARE:
            scenes += [scene for scene in motion(rng, Mix(), length, 1).frames if scene is not None]
            shots.append(Shot(start, end, None))
        else:
            scene = random_scene(rng)
            scenes += [scene] * length
            shots.append(Shot(start, end, describe(scene)))
    return scenes, shots


def pan_over(rng: random.Random, picture: Image.Image, num_frames: int) -> Iterator[Image.Image]:
    """A camera that pans over a photograph, and zooms a little."""
    share = np.linspace(rng.uniform(0.5, 0.8), rng.uniform(0.5, 0.8), num_frames)
    begin, end = ((rng.random(), rng.random()) for _ in range(2))
    for part, (right, down) in zip(share, np.linspace(begin, end, num_frames), strict=True):
        width, height = int(part * picture.width), int(part * picture.height)
        left, top = int(right * (picture.width - width)), int(down * (picture.height - height))
        yield picture.crop((left, top, left + width, top + height))


def filmed_clip(rng: random.Random, path: Path) -> list[Shot]:
    """Neighbouring shots are of different photographs or of the film."""
    shots: list[Shot] = []
    last, num_frames = -1, 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *FILM_SIZE, "yuv420p"
        while num_frames < FPS * FILM_SECONDS:
            last = rng.choice([number for number in range(len(photographs()) + 1) if number != last])
            length = round(FPS * rng.uniform(*FILM_SHOT_SECONDS))
            if last < len(photographs()):
                pictures = list(pan_over(rng, photographs()[last], length))
            else:
                pictures = [Image.fromarray(frame) for frame in film(rng)]
            for picture in pictures:
                pixels = np.ascontiguousarray(picture.resize(FILM_SIZE))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            shots.append(Shot(num_frames / FPS, (num_frames + len(pictures)) / FPS, None))
            num_frames += len(pictures)
        container.mux(stream.encode())
    return shots


@dataclass
class Tally:
    """Cuts of one way to find them, and descriptions."""

    num_true: int = 0
    num_found: int = 0
    num_claimed: int = 0
    num_invented: int = 0
    seconds: float = 0.0
    is_right: list[bool] = field(default_factory=list)

    def add(self, found: Sequence[float], shots: Sequence[Shot], seconds: float) -> None:
        self.seconds += seconds
        true = [shot.start for shot in shots[1:]]
        self.num_true += len(true)
        self.num_claimed += len(found)
        self.num_found += sum(any(abs(one - cut) <= TOLERANCE_SECONDS for one in found) for cut in true)
        self.num_invented += sum(all(abs(one - cut) > TOLERANCE_SECONDS for cut in true) for one in found)

    @property
    def found(self) -> float:
        return self.num_found / max(1, self.num_true)

    @property
    def invented(self) -> float:
        return self.num_invented / max(1, self.num_claimed)


def measure(engine: LocalEngine, path: Path, shots: Sequence[Shot], tallies: dict[str, Tally]) -> None:
    info = probe(path)
    source = VideoSource(info, plan_frames(info, NUM_FRAMES), engine.processor)
    tally, started, seconds = tallies["pixels"], time.perf_counter(), 0.0
    for outline in find_chapters(engine, source, lambda: False):
        if len(outline.chapters) == 1:  # the cuts are known
            seconds = time.perf_counter() - started
    tally.add([one.start for one in outline.chapters[1:]], shots, seconds)
    for shot in shots:
        if shot.description is not None:
            middle = (shot.start + shot.end) / 2
            title = next((one.title for one in outline.chapters if one.start <= middle < one.end), "")
            tally.is_right.append(title == shot.description)
    started = time.perf_counter()
    tallies["features"].add(feature_cuts(engine, source), shots, time.perf_counter() - started)
    source.close()
    for detector in [name for name in DETECTORS if name in tallies]:
        started = time.perf_counter()
        found = scenedetect_cuts(path, detector)
        tallies[detector].add(found, shots, time.perf_counter() - started)


def feature_cuts(engine: LocalEngine, source: VideoSource) -> list[float]:
    """The same rule on the cosine distance of neighbouring samples' features, with the best threshold found here."""
    parts = [engine.encode_frames(pixels) for pixels in source.pixels(16, lambda: False) if pixels is not None]
    features = torch.cat(parts).flatten(1).float()
    apart = 1 - torch.nn.functional.cosine_similarity(features[1:], features[:-1])
    middles = [(one + other) / 2 for one, other in zip(source.seconds, source.seconds[1:], strict=False)]
    return [middle for middle, value in zip(middles, apart.tolist(), strict=True) if value > 0.08]


def scenedetect_cuts(path: Path, detector: str) -> list[float]:
    """Of all frames, with the detector's own settings."""
    import scenedetect  # type: ignore[import-not-found]

    return [scene[0].seconds for scene in scenedetect.detect(str(path), getattr(scenedetect, detector)())[1:]]


def report(name: str, tallies: dict[str, Tally], num_clips: int) -> None:
    for way, tally in tallies.items():
        found = f"found {tally.found:.3f} of {tally.num_true}, invented {tally.invented:.3f}"
        print(f"{name}, by {way}: {found}, {tally.seconds / num_clips:.1f} s per clip", flush=True)
    one = tallies["pixels"]
    aims = (f"≥ {TARGETS['found']} (aim)", f"≤ {TARGETS['invented']} (aim)")
    rows.add(f"chapters: {name} changes of scene found within 1 s ({one.num_true})", aims[0], f"{one.found:.3f}", "–")
    rows.add(f"chapters: {name} changes of scene invented", aims[1], f"{one.invented:.3f}", "–")
    if one.is_right:
        right = sum(one.is_right) / len(one.is_right)
        what = f"chapters: descriptions of still scenes that are exact ({len(one.is_right)})"
        rows.add(what, f"≥ {TARGETS['described']} (aim)", f"{right:.3f}", "–")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    parser.add_argument("--only", choices=KINDS, help="one kind of clips")
    options = parser.parse_args()
    num_clips = options.clips
    engine = LocalEngine(load("tiny"), Settings())
    ways = ("pixels", "features", *(DETECTORS if find_spec("scenedetect") else ()))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for name in [options.only] if options.only else KINDS:
            tallies = {way: Tally() for way in ways}
            for number in range(options.first, options.first + num_clips):
                rng = random.Random(f"{SEED} {name} {number}")
                if name == "drawn":
                    scenes, shots = drawn_clip(rng)
                    write_scenes(path, scenes)
                else:
                    shots = filmed_clip(rng, path)
                measure(engine, path, shots, tallies)
            report(name, tallies, num_clips)


if __name__ == "__main__":
    main()
