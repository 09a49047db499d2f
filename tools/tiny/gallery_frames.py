"""The frames of the gallery: moving scenes, sequences of shots, needles, and out-of-scope clips."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image

from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import Mix, Scene, random_scene
from tools.tiny.out_of_scope import landscape

SIZE = 480  # side of a clip's frames, in pixels
Frames = Callable[[], Iterator[np.ndarray]]  # each uint8 (height, width, 3)
Shots = list[tuple[float, Scene]]  # duration in seconds, and the scene


def smooth(scene: Scene) -> np.ndarray:
    """Draw at twice the size and scale down, so that slow motion does not jump from pixel to pixel."""
    return np.asarray(Image.fromarray(draw(scene, 2 * SIZE)).reduce(2))


def floating(scene: Scene, seconds: float, fps: int, sway: float = 0.012) -> Frames:
    """The scene with its things swaying gently."""

    def frames() -> Iterator[np.ndarray]:
        for index in range(round(seconds * fps)):
            time = index / fps
            things = [
                replace(
                    thing,
                    x=thing.x + sway * math.sin(1.1 * time + 2 * at),
                    y=thing.y + sway * math.cos(0.9 * time + 3 * at),
                )
                for at, thing in enumerate(scene.things)
            ]
            yield smooth(scene.with_things(*things))

    return frames


def shots(seed: int, seconds: float, shot_seconds: tuple[float, float]) -> Shots:
    """Random scenes without symbols or words, `seconds` in total."""
    rng, mix = random.Random(seed), Mix(symbol_share=0, bare_share=0, word_share=0, large_share=0.5, spread=0.4)
    found: Shots = []
    left = seconds
    while left > 0:
        length = min(left, rng.uniform(*shot_seconds))
        found.append((length, random_scene(rng, mix, count=rng.choice((1, 1, 2, 2, 3)))))
        left -= length
    return found


def with_needle(haystack: Shots, needle: Scene, at: float, seconds: float) -> Shots:
    """The shots with `needle` in place of what was shown from `at` on. The total length stays the same."""
    found: Shots = []
    now = 0.0
    for length, scene in haystack:
        before = min(length, max(0.0, at - now))
        after = min(length, max(0.0, now + length - at - seconds))
        found += [(before, scene)] if before else []
        if now <= at < now + length:
            found.append((seconds, needle))
        found += [(after, scene)] if after else []
        now += length
    return found


def stills(shots: Shots, fps: int) -> Frames:
    """The shots as still scenes. Each is drawn once, so that long clips are cheap."""

    @lru_cache(maxsize=2)
    def still(index: int) -> np.ndarray:
        return smooth(shots[index][1])

    def frames() -> Iterator[np.ndarray]:
        ends = np.cumsum([length for length, _ in shots])
        for tick in range(round(ends[-1] * fps)):
            yield still(min(len(shots) - 1, int(np.searchsorted(ends, tick / fps, side="right"))))

    return frames


def moving_colours(seconds: float, fps: int) -> Frames:
    """Waves of colour that loop seamlessly."""

    def frames() -> Iterator[np.ndarray]:
        ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
        x, y = ramp[None, :], ramp[:, None]
        count = round(seconds * fps)
        for index in range(count):
            time = 2 * math.pi * index / count
            planes = []
            for shift in (0.0, 2.1, 4.2):
                wave = np.sin(9 * x + time + shift) + np.sin(11 * y - time) + np.sin(8 * (x + y) + shift + time)
                planes.append(128 + 42 * (wave + np.sin(14 * np.hypot(x - 0.5, y - 0.5) - time + shift)))
            yield np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)

    return frames


def panned_landscape(seed: int, seconds: float, fps: int) -> Frames:
    """A pan over a landscape that is larger than the frame."""

    def frames() -> Iterator[np.ndarray]:
        wide = landscape(random.Random(seed), 2 * SIZE)
        count = round(seconds * fps)
        for index in range(count):
            left = round(SIZE * (0.5 - 0.5 * math.cos(math.pi * index / (count - 1))))
            yield wide[SIZE // 2 : SIZE // 2 + SIZE, left : left + SIZE]

    return frames
