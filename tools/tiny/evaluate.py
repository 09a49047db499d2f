"""Evaluate the bundled model: exact match on new scenes, compressed with H.264, through `longva_demo.model`.

    python -m tools.tiny.evaluate                          # everything; writes evaluation.json and docs/tiny.md
    python -m tools.tiny.evaluate --share 0.1 --no-write   # a tenth of the samples, printed only

Training uses small seeds and the evaluation those from EVALUATION_SEED on, so that they share no scene.
"""

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from longva_demo.tiny.clips import (
    Episode,
    colour_change,
    haystack,
    motion,
    needle_scene,
    needles,
    order,
    picture,
    still,
)
from longva_demo.tiny.degrade import h264
from longva_demo.tiny.draw import draw
from longva_demo.tiny.phrases import phrase_clip
from longva_demo.tiny.questions import REFUSAL, QAPair
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES, SYMBOLS, Mix, Scene
from tools.tiny.altered import each_alteration
from tools.tiny.ask import WEIGHTS, TinyModel
from tools.tiny.out_of_scope import HELD_OUT_KINDS, TRAINED_KINDS, draw_out_of_scope
from tools.tiny.out_of_scope_questions import non_question, out_of_scope_question, unanswerable_question
from tools.tiny.real_pictures import REAL, real_frames
from tools.tiny.report import Row, write_report

EVALUATION_SEED = 9_000_000
SCENES = Mix(count_weights=(0.05, 0.25, 0.25, 0.25, 0.12, 0.08))
CORRUPTION_TASKS = ("background", "colour", "shape", "number", "letter", "word", "count", "position", "yes-no")
FALSE_REFUSALS = "false refusals (share of answerable questions)"
FALSE_SHAPES = "false shapes (share of answers about out-of-scope pictures)"
PIXELS, CLIP_PIXELS = 336, 168  # sides at which scenes are drawn before they are compressed


@dataclass
class Tally:
    """Counts correct answers by task, and refusals of answerable questions."""

    right: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, task: str, asked: QAPair, answer: str) -> None:
        self.total[task] += 1
        self.right[task] += answer == asked.answer
        if answer != asked.answer:
            self.examples[task].append((asked.question, asked.answer, answer))
        if asked.answer != REFUSAL:
            self.total[FALSE_REFUSALS] += 1
            self.right[FALSE_REFUSALS] += answer == REFUSAL

    def add_out_of_scope(self, task: str, question: str, answer: str) -> None:
        """An answer about an out-of-scope picture, which shows none of the shapes."""
        self.add(task, QAPair(question, REFUSAL, "refusal"), answer)
        self.total[FALSE_SHAPES] += 1
        self.right[FALSE_SHAPES] += any(shape in answer for shape in SHAPES)


def drawn(scenes: Iterable[Scene | None], size: int, crf: int) -> np.ndarray:
    """The frames of a clip after compression (frames, size, size, 3)."""
    pictures: list[np.ndarray] = []
    last: Scene | None = None
    for scene in scenes:
        assert scene is not None
        pictures.append(pictures[-1] if scene is last else draw(scene, size))
        last = scene
    return h264(np.stack(pictures), crf, preset="veryfast", fps=25)


def single_scenes(model: TinyModel, tally: Tally, count: int, seed: int) -> None:
    """Each scene is one compressed frame. Each of its questions is asked on its own."""
    rng = random.Random(seed)
    for _ in range(count):
        episode = picture(rng, SCENES, 9)
        if not episode.asked:
            continue
        tokens = model.encode(drawn(episode.frames, PIXELS, rng.randint(20, 28)))
        for one, answer in zip(episode.asked, model.ask(tokens, [one.question for one in episode.asked]), strict=True):
            tally.add(one.task, one, answer)


def follow_ups(model: TinyModel, tally: Tally, count: int, seed: int) -> None:
    """Three questions in one conversation about a still clip. Only the third counts."""
    rng = random.Random(seed)
    for _ in range(count):
        episode = still(rng, SCENES, 8, 3)
        if len(episode.asked) < 3:
            continue
        tokens = model.encode(drawn(episode.frames, CLIP_PIXELS, rng.randint(20, 28)))
        answers = model.converse(tokens, [one.question for one in episode.asked[:3]])
        tally.add("third question of a conversation", episode.asked[2], answers[2])


def clips(model: TinyModel, tally: Tally, count: int, seed: int) -> None:
    """Motion, still things, colour changes and order in clips of 8 to 32 frames."""
    rng = random.Random(seed)
    makers: list[tuple[Callable[..., Episode], tuple[str, ...]]] = [
        (motion, ("direction", "moves", "standing still", "start place", "end place")),
        (still, ("standing still",)),
        (colour_change, ("start colour", "end colour", "changes")),
        (order, ("order",)),
    ]
    for make, tasks in makers:
        for _ in range(count):
            episode = make(rng, SCENES, rng.choice((8, 16, 32)), 8)
            wanted = [one for one in episode.asked if one.task in tasks]
            tokens = model.encode(drawn(episode.frames, CLIP_PIXELS, rng.randint(20, 28)))
            for one, answer in zip(wanted, model.ask(tokens, [one.question for one in wanted]), strict=True):
                tally.add(one.task, one, answer)


def needle_clips(model: TinyModel, tally: Tally, num_frames: int, count: int, seed: int) -> None:
    """One or two frames with a digit among `num_frames`, and one question per clip."""
    rng = random.Random(seed)
    for _ in range(count):
        episode = needles(rng, num_frames, 1, 1, letter_share=0.0)
        one = next((one for one in episode.asked if one.task == "needle"), None)
        if one is None:
            continue
        tokens = model.encode(drawn(episode.frames, CLIP_PIXELS, rng.randint(20, 28)))
        tally.add(f"digit needle, {num_frames} frames", one, model.ask(tokens, [one.question])[0])


def absent_needles(model: TinyModel, tally: Tally, num_frames: int, count: int, seed: int) -> None:
    """Questions about a number in clips without one."""
    rng = random.Random(seed)
    for _ in range(count):
        episode = needles(rng, num_frames, 0, 2)
        wanted = [one for one in episode.asked if one.task == "missing"]
        tokens = model.encode(drawn(episode.frames, CLIP_PIXELS, rng.randint(20, 28)))
        for one, answer in zip(wanted, model.ask(tokens, [one.question for one in wanted]), strict=True):
            tally.add(f"no digit needle in {num_frames} frames", one, answer)


def long_needles(model: TinyModel, tally: Tally, num_frames: int, count: int, seed: int) -> None:
    """As `needle_clips`, but each haystack is drawn and encoded once, for ten needles in turn.

    Haystacks and needles go through H.264 in separate clips.
    """
    rng = random.Random(seed)
    tokens = torch.zeros(0)
    for index in range(count):
        if index % 10 == 0:
            scenes = haystack(rng, num_frames)
            tokens = torch.cat(
                [model.encode(drawn(scenes[at : at + 250], CLIP_PIXELS, 24)) for at in range(0, num_frames, 250)]
            )
        shape, colour, symbol = rng.randrange(len(SHAPES)), rng.randrange(len(COLOUR_NAMES)), rng.randrange(len(DIGITS))
        needle = model.encode(drawn([needle_scene(rng, shape, colour, symbol)], CLIP_PIXELS, 24))
        seen = tokens.clone()
        seen[rng.randrange(num_frames)] = needle[0]
        name = f"{COLOUR_NAMES[colour]} {SHAPES[shape]}"
        question = phrase_clip(rng, "only needle") if index % 2 else phrase_clip(rng, "needle", ref=name)
        asked = QAPair(question, f"The number is {SYMBOLS[symbol]}.", "needle")
        tally.add(f"digit needle, {num_frames:,} frames", asked, model.ask(seen, [question])[0])


def scene_question(rng: random.Random) -> str:
    """A question as it is asked about a scene."""
    asked = picture(rng, SCENES, 1).asked
    return asked[0].question if asked and rng.random() < 0.7 else "What do you see?"


def refusals(model: TinyModel, tally: Tally, count: int, seed: int) -> None:
    """Out-of-scope pictures and questions, and questions without any picture."""
    rng = random.Random(seed)
    for name, kinds in (("trained", TRAINED_KINDS), ("held-out", HELD_OUT_KINDS)):
        for _ in range(count):
            pixels = draw_out_of_scope(rng, PIXELS, kinds)
            question = scene_question(rng)
            tokens = model.encode(h264(pixels[None], rng.randint(20, 28), preset="veryfast"))
            tally.add_out_of_scope(
                f"refusal, drawn pictures of {name} kinds", question, model.ask(tokens, [question])[0]
            )
    for kind in REAL:
        for _ in range(count):
            questions = [scene_question(rng) for _ in range(2)]
            answers = model.ask(model.encode(real_frames(rng, kind)), questions)
            for question, answer in zip(questions, answers, strict=True):
                tally.add_out_of_scope(f"refusal, {kind}", question, answer)
    for _ in range(2 * count):
        episode = still(rng, SCENES, rng.choice((1, 8)), 1)
        asked = QAPair(out_of_scope_question(rng), REFUSAL, "refusal")
        tokens = model.encode(drawn(episode.frames, CLIP_PIXELS, 24))
        tally.add("refusal, out-of-scope questions", asked, model.ask(tokens, [asked.question])[0])
    for _ in range(count):
        inside = picture(rng, SCENES, 1).asked
        question = inside[0].question if inside and rng.random() < 0.5 else out_of_scope_question(rng)
        tally.add("refusal, no picture", QAPair(question, REFUSAL, ""), model.ask(None, [question])[0])


def unanswerable_texts(model: TinyModel, tally: Tally, count: int, seed: int) -> None:
    """Texts that are not questions, and questions that frames cannot answer, each about a clip of its own."""
    rng = random.Random(seed)
    for name, make in (("not a question", non_question), ("unanswerable from frames", unanswerable_question)):
        for _ in range(count):
            episode = still(rng, SCENES, rng.choice((1, 8)), 1)
            asked = QAPair(make(rng), REFUSAL, "refusal")
            tokens = model.encode(drawn(episode.frames, CLIP_PIXELS, 24))
            tally.add(f"refusal, {name}", asked, model.ask(tokens, [asked.question])[0])


def corrupted_scenes(model: TinyModel, tally: Tally, count: int, seed: int) -> None:
    """The same scenes and questions under each kind of corruption."""
    for name, alteration, rng in each_alteration(random.Random(seed)):
        for _ in range(count):
            episode = picture(rng, SCENES, 6)
            asked = [one for one in episode.asked if one.task in CORRUPTION_TASKS]
            [scene] = episode.frames
            if not asked or scene is None:
                continue
            tokens = model.encode(alteration.frame(scene))
            for one, answer in zip(asked, model.ask(tokens, [one.question for one in asked]), strict=True):
                tally.add(f"single scenes, {name}", one, answer)


JOBS: tuple[tuple[Callable[..., None], tuple[int, ...]], ...] = (  # the last number: how many samples
    (single_scenes, (400,)),
    (follow_ups, (100,)),
    (clips, (120,)),
    (needle_clips, (16, 150)),
    (needle_clips, (64, 120)),
    (needle_clips, (256, 100)),
    (long_needles, (1024, 60)),
    (long_needles, (2000, 60)),
    (refusals, (100,)),
    (corrupted_scenes, (60,)),
    (absent_needles, (64, 60)),
    (unanswerable_texts, (150,)),
)


def run_job(number: int, share: float, weights: Path) -> Tally:
    """Run one job in its own process, on one thread."""
    torch.set_num_threads(1)
    job, arguments = JOBS[number]
    tally = Tally()
    job(TinyModel(weights), tally, *arguments[:-1], max(2, round(arguments[-1] * share)), seed_of(number))
    return tally


def seed_of(number: int) -> int:
    return EVALUATION_SEED + 1000 * number


def evaluate(weights: Path, share: float, processes: int, log: Callable[[str], None]) -> list[Row]:
    """Run all jobs on `share` of the samples. Returns one row per task."""
    rows: list[Row] = []
    errors: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {number: pool.submit(run_job, number, share, weights) for number in reversed(range(len(JOBS)))}
        for number in range(len(JOBS)):
            tally = running[number].result()
            for name in (FALSE_REFUSALS, FALSE_SHAPES):
                errors[name] += tally.right.pop(name, 0)
                answers[name] += tally.total.pop(name, 0)
            for task, total in sorted(tally.total.items()):
                rows.append(Row(task, tally.right[task] / total, total, seed_of(number)))
                log(f"{rows[-1].score:.3f} of {total:4d}  {task}")
                for question, truth, answer in tally.examples[task][:2]:
                    log(f"      {question!r}: {answer!r}, expected {truth!r}")
    rows += [Row(name, errors[name] / answers[name], answers[name], EVALUATION_SEED) for name in sorted(answers)]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="checkpoint to evaluate (default: the bundled one)"
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the samples (default 1: all)")
    parser.add_argument("--processes", type=int, default=2, help="how many, with one thread each (default 2)")
    parser.add_argument("--no-write", action="store_true", help="do not update evaluation.json and docs/tiny.md")
    options = parser.parse_args()
    begin = time.time()
    rows = evaluate(
        options.weights, options.share, options.processes, lambda line: print(line, file=sys.stderr, flush=True)
    )
    command = "python -m tools.tiny.evaluate" + (f" --share {options.share}" if options.share != 1 else "")
    print(write_report(rows, command, time.time() - begin, write=not options.no_write))


if __name__ == "__main__":
    main()
