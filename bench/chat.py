"""Time to first token of a first and a second question with the bundled model, for three implementations in one run.

The original demo decodes the video with decord and prefills it again for every question. The second implementation
keeps the decoded frames in memory, and transformers' `generate` prefills the whole conversation for every question.
This project prefills the video once. Run it with `python -m bench.chat`.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench import rows
from bench.clips import write_clip
from longva_demo.chat import ChatSession, LocalEngine, Sampling, TextDelta, VideoSource
from longva_demo.model import LoadedModel, load
from longva_demo.settings import Settings
from longva_demo.video import decode_frames, plan_frames, probe

QUESTIONS = ("What colour is the background?", "Is there a red circle?")
SECONDS, FPS = 60, 10
BUDGETS = (64, 512)
LONG = 2000
RUNS = 3
SAMPLING = Sampling(max_new_tokens=32)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"


def open_session(engine: LocalEngine, path: Path, budget: int) -> ChatSession:
    info = probe(path)
    session = ChatSession(engine, is_shared=False)
    session.set_source(VideoSource(info, plan_frames(info, budget), engine.processor))
    return session


def first_tokens_here(engine: LocalEngine, path: Path, budget: int) -> list[float]:
    """Seconds to the first token of each question, in one session of this project."""
    started = time.perf_counter()
    session = open_session(engine, path, budget)
    opened = time.perf_counter() - started
    first, second = (seconds_to_first(session, question) for question in QUESTIONS)
    session.close()
    return [opened + first, second]


def seconds_to_first(session: ChatSession, question: str) -> float:
    started = time.perf_counter()
    elapsed = 0.0
    for event in session.ask(question, SAMPLING):
        if isinstance(event, TextDelta) and not elapsed:
            elapsed = time.perf_counter() - started
    return elapsed


def decode(path: Path, budget: int, decoder: str) -> np.ndarray:
    """All frames, uint8 (frames, height, width, 3)."""
    info = probe(path)
    batches = decode_frames(path, plan_frames(info, budget), info=info, decoder=decoder)
    return np.concatenate([batch.pixels for batch in batches])


def generate(loaded: LoadedModel, frames: np.ndarray, conversation: str, length: int) -> str:
    """The answer of transformers' own `generate` to a conversation that ends with a question."""
    inputs = loaded.processor(text=f"{SYSTEM}{conversation}<|im_end|>\n<|im_start|>assistant\n", videos=[frames])
    with torch.inference_mode():
        ids = loaded.model.generate(**inputs, max_new_tokens=length, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return loaded.processor.decode(ids, skip_special_tokens=True)


def first_tokens_original(loaded: LoadedModel, path: Path, budget: int) -> list[float]:
    """Decode, encode and prefill the video again for each question, without history. Generates one token."""
    seconds = []
    for question in QUESTIONS:
        started = time.perf_counter()
        generate(loaded, decode(path, budget, "decord"), f"<image>\n{question}", 1)
        seconds.append(time.perf_counter() - started)
    return seconds


def first_tokens_generate(loaded: LoadedModel, path: Path, budget: int, answer: str) -> list[float]:
    """Decode once, then prefill the whole conversation for each question. Generates one token."""
    started = time.perf_counter()
    frames = decode(path, budget, "pyav")
    generate(loaded, frames, f"<image>\n{QUESTIONS[0]}", 1)
    between = time.perf_counter()
    generate(loaded, frames, follow_up(answer), 1)
    return [between - started, time.perf_counter() - between]


def follow_up(answer: str) -> str:
    first, second = QUESTIONS
    return f"<image>\n{first}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n<|im_start|>user\n{second}"


def check_answers(engine: LocalEngine, path: Path, budget: int) -> str:
    """Check that transformers' `generate` gives the same two answers, word for word. Returns the first."""
    session = open_session(engine, path, budget)
    for question in QUESTIONS:
        list(session.ask(question, SAMPLING))
    answers = [turn.answer for turn in session.turns]
    frames = decode(path, budget, "pyav")
    for conversation, ours in zip((f"<image>\n{QUESTIONS[0]}", follow_up(answers[0])), answers, strict=True):
        theirs = generate(engine.loaded, frames, conversation, SAMPLING.max_new_tokens)
        assert theirs == ours, f"generate answers {theirs!r}, this project {ours!r}"
    return answers[0]


def compare(engine: LocalEngine, path: Path, budget: int) -> None:
    answer = check_answers(engine, path, budget)
    original, generated, ours = [], [], []
    for _ in range(RUNS):  # interleaved, so that all see the same load of the machine
        original.append(first_tokens_original(engine.loaded, path, budget))
        generated.append(first_tokens_generate(engine.loaded, path, budget, answer))
        ours.append(first_tokens_here(engine, path, budget))
    mine = np.median(ours, axis=0)
    for name, runs in (("original demo", original), ("transformers' generate", generated)):
        theirs = np.median(runs, axis=0)
        for number, which in enumerate(("first question", "second question")):
            baseline = f"{name}: {theirs[number]:.2f} s"
            ratio = rows.times(theirs[number], mine[number])
            rows.add(f"{budget} frames, time to first token, {which}", baseline, f"{mine[number]:.3f} s", ratio)


def main() -> None:
    engine = LocalEngine(load("tiny"), Settings())
    print(f"{SECONDS} s at {FPS} fps, 640 × 360, h264; {torch.get_num_threads()} threads; median of {RUNS}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, SECONDS, FPS, 640, 360)
        first_tokens_here(engine, path, 8)  # warm up
        for budget in BUDGETS:
            compare(engine, path, budget)
        write_clip(path, LONG / FPS, FPS, 960, 540)
        first, second = np.median([first_tokens_here(engine, path, LONG) for _ in range(RUNS)], axis=0)
        what = f"{LONG:,} frames of 960 × 540, time to first token, second question vs. first"
        rows.add(what, f"first question: {first:.1f} s", f"{second:.3f} s", rows.times(first, second))


if __name__ == "__main__":
    main()
