"""First and second question with the bundled model: the video read once, or again for each question.

Ours against the original demo's way, which decodes, encodes and reads the video for every question.
Run it with `python -m bench.chat`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench.clips import write_clip
from longva_demo.chat import ChatSession, Engine, Sampling, TextDelta, VideoSource
from longva_demo.model import LoadedModel, load
from longva_demo.settings import Settings
from longva_demo.video import decode_frames, plan_frames, probe

QUESTIONS = ("What colour is the background?", "Is there a red circle?")
SECONDS, FPS = 60, 10
BUDGETS = (64, 512)
LONG = 2000
RUNS = 3


def first_words_ours(engine: Engine, path: Path, budget: int) -> list[float]:
    """Seconds to the first word of each question, with one session."""
    info = probe(path)
    session = ChatSession(engine)
    session.look_at(VideoSource(info, plan_frames(info, budget), engine.processor))
    return [seconds_to_first(lambda q=question: session.ask(q, Sampling(max_new_tokens=32))) for question in QUESTIONS]


def seconds_to_first(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    elapsed = 0.0
    for event in ask():  # type: ignore[attr-defined]
        if isinstance(event, TextDelta) and not elapsed:
            elapsed = time.perf_counter() - started
    return elapsed


def first_words_original(loaded: LoadedModel, path: Path, budget: int) -> list[float]:
    """The same, decoding, encoding and reading the video for each question; one token is generated."""
    seconds = []
    info = probe(path)
    for question in QUESTIONS:
        started = time.perf_counter()
        batches = decode_frames(path, plan_frames(info, budget), info=info, decoder="decord")
        frames = np.concatenate([batch.pixels for batch in batches])
        prompt = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
            f"<image>\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        inputs = loaded.processor(text=prompt, videos=[frames])
        with torch.inference_mode():
            loaded.model.generate(**inputs, max_new_tokens=1, do_sample=False)
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    loaded = load("tiny")
    engine = Engine(loaded, Settings())
    print(
        f"{SECONDS} s at {FPS} frames a second, 640 × 360, h264; {torch.get_num_threads()} threads; median of {RUNS}\n"
    )
    print("| frames | question | original way, s | ours, s | original ÷ ours | our first ÷ our second |")
    print("|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, SECONDS, FPS, 640, 360)
        first_words_ours(engine, path, 8)  # warm up
        for budget in BUDGETS:
            ours, original = [], []
            for _ in range(RUNS):  # taken in turn, so that both see the same machine
                original.append(first_words_original(loaded, path, budget))
                ours.append(first_words_ours(engine, path, budget))
            theirs, mine = np.median(original, axis=0), np.median(ours, axis=0)
            for number, name in enumerate(("first", "second")):
                gain = f"{mine[0] / mine[1]:.0f} ×" if number else ""
                ratio = theirs[number] / mine[number]
                print(f"| {budget} | {name} | {theirs[number]:.2f} | {mine[number]:.3f} | {ratio:.1f} × | {gain} |")
        write_clip(path, LONG / FPS, FPS, 960, 540)
        first, second = np.median([first_words_ours(engine, path, LONG) for _ in range(RUNS)], axis=0)
        print(f"\n{LONG:,} frames of 960 × 540: first question {first:.1f} s, second {second:.3f} s")


if __name__ == "__main__":
    main()
