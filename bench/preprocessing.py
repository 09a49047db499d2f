"""Preprocessing of frames: speed of LongVAProcessor against transformers' CLIPImageProcessor, and whether they agree.

720p frames become 336 × 336 as for LongVA-7B: resize the shortest side (bicubic), centre crop, normalise. Run it with
`python -m bench.preprocessing`.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench import rows
from bench.clips import textured
from bench.process import cpu_seconds
from longva_demo.model import LongVAConfig, LongVAProcessor, load
from longva_demo.parallel import available_cpus

NUM_FRAMES, WIDTH, HEIGHT, SIDE = 64, 1280, 720, 336
RUNS = 3


def frames() -> np.ndarray:
    """uint8 (frames, height, width, 3): a camera that moves over a textured landscape, with noise."""
    landscape = textured(HEIGHT + 2 * NUM_FRAMES, WIDTH + 6 * NUM_FRAMES)
    noise = np.random.default_rng(1).integers(0, 24, (HEIGHT, WIDTH), dtype=np.uint8)
    pictures = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for number, picture in enumerate(pictures):
        for colour in range(3):
            left = 4 * number + 40 * colour
            picture[..., colour] = landscape[2 * number :, left:][:HEIGHT, :WIDTH] // 2 + noise
    return pictures


def clip_processor(name: str) -> Any:
    """An image processor of transformers, by its class name."""
    import transformers

    resample = Image.Resampling.BICUBIC
    return getattr(transformers, name)(size={"shortest_edge": SIDE}, crop_size=SIDE, resample=resample)


def clock(work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    return cpu_seconds() - cpu, time.perf_counter() - wall


def compare(name: str, label: str, ours: LongVAProcessor, pictures: np.ndarray) -> None:
    what = f"{NUM_FRAMES} frames of 720p to {SIDE} pixels"
    theirs = clip_processor(name)
    images = list(pictures)
    seconds = []
    for _ in range(RUNS):  # interleaved, so that both see the same load of the machine
        baseline = clock(lambda: theirs(images=images, return_tensors="pt"))
        mine = clock(lambda: ours.normalise(ours.preprocess_frames(pictures)))
        seconds.append((*baseline, *mine))
    baseline_cpu, baseline_wall, cpu, wall = np.median(seconds, axis=0)
    plain = theirs(images=images, return_tensors="np", do_rescale=False, do_normalize=False)["pixel_values"]
    small = ours.preprocess_frames(pictures)
    levels = np.abs(plain.transpose(0, 2, 3, 1).astype(int) - small).max()
    values = theirs(images=images, return_tensors="pt")["pixel_values"]
    largest = float((values - ours.normalise(small)).abs().max())
    print(f"{label}: largest difference {levels} grey levels, {largest:.1e} after normalisation\n")
    rows.add(f"{what}, wall", f"{label}: {baseline_wall:.2f} s", f"{wall:.2f} s", rows.times(baseline_wall, wall))
    rows.add(f"{what}, CPU", f"{label}: {baseline_cpu:.2f} s", f"{cpu:.2f} s", rows.times(baseline_cpu, cpu))
    same = "identical" if levels == 0 else f"up to {levels} grey levels apart"
    rows.add(f"{what}, pixels", label, same, f"largest difference after normalisation: {largest:.1e}")


def main() -> None:
    ours = LongVAProcessor.from_config(load("tiny").processor.tokenizer, LongVAConfig())
    pictures = frames()
    print(f"{NUM_FRAMES} frames of {WIDTH} × {HEIGHT}; {available_cpus()} cores; median of {RUNS}\n")
    with torch.inference_mode():
        compare("CLIPImageProcessorPil", "CLIPImageProcessor on Pillow", ours, pictures)
        if find_spec("torchvision"):
            compare("CLIPImageProcessor", "CLIPImageProcessor on torchvision", ours, pictures)
        else:
            print("CLIPImageProcessor on torchvision: not measured, torchvision is not installed")


if __name__ == "__main__":
    main()
