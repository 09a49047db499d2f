"""Long context transfer in small: three readers of the bundled kind, trained alike but for one thing, and measured.

LongVA's recipe (arXiv 2406.16852) trains a language model on long text, aligns it with single images only, and finds
that it reads long video. Here the text tells, a line each, what frames would show; the eyes are those of the bundled
model and stay as they are. Two text models and three alignments:

    python -m bench.transfer                  # trains what is not yet trained, measures, writes docs/transfer.md
    python -m bench.transfer --steps 3 --few  # does it run?
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from longva_demo.chat import Engine
from longva_demo.model import LongVAForConditionalGeneration, load
from longva_demo.niah.haystack import Haystack, drawn_frames
from longva_demo.niah.needles import drawn_needles
from longva_demo.niah.plot import draw_heat_map
from longva_demo.niah.run import Grid, Result, run
from longva_demo.settings import Settings
from longva_demo.tiny.clips import haystack, needle_scene
from longva_demo.tiny.questions import describe
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES, Mix
from tools.tiny.ask import WEIGHTS, Asker
from tools.tiny.evaluate import Tally, clips, single_scenes
from tools.tiny.export import export
from tools.tiny.network import Eyes
from tools.tiny.train import get_tokenizer, load_reader
from tools.tiny.train_reader import MixedTokens, Share, train_reader

PAGE = Path(__file__).parents[1] / "docs" / "transfer.md"
NUM_LAYERS = 4
SEEN_SHARE = 0.3

# What a description tells: up to three things, and no places of words.
TOLD = Mix(count_weights=(0.0, 0.3, 0.4, 0.3), word_share=0.1)
TOLD_QUESTIONS = {
    **{"colour": 2.0, "shape": 2.0, "symbol": 3.0, "position": 2.0, "about": 1.5},
    **{"background": 0.5, "is_there": 1.0, "who_has": 1.0, "describe": 0.5},
}
# First of all, things are looked up by their names: everything else begins with that.
NAMES = Mix(count_weights=(0.0, 0.2, 0.4, 0.4), word_share=0.0, symbol_share=0.7, bare_share=0.0)
NAME_QUESTIONS = {"symbol": 3.0, "about": 1.0, "colour": 1.0, "shape": 1.0, "position": 1.0}
WORDS = {"told picture": Share(1.0, 20, leaps=0.0, mix=NAMES, ask=NAME_QUESTIONS, told=True)}
SHORT_TEXT = {
    "told picture": Share(4.0, 16, leaps=0.0, mix=TOLD, ask=TOLD_QUESTIONS, told=True),
    "told needles": Share(3.0, 8, (2, 4, 8), needles=3, questions=4, leaps=0.0, told=True),
}
LONG_TEXT = SHORT_TEXT | {
    "told needles": Share(1.5, 6, (4, 8, 16), needles=3, questions=4, told=True),
    "long text": Share(1.5, 3, (64,), needles=4, questions=6, told=True),
    "longer text": Share(1.5, 1, (160, 256), needles=8, questions=10, told=True),
    "far needle": Share(1.5, 3, (32, 64, 128), needles=1, questions=3, told=True),
}
PICTURES = {"picture": Share(1.0, 16, leaps=0.0)}
SHORT_CLIPS = PICTURES | {
    "motion": Share(0.3, 8, (4, 8), questions=8, leaps=0.0),
    "colour change": Share(0.3, 10, (4, 8), questions=8, leaps=0.0),
    "order": Share(0.2, 8, (4, 8), leaps=0.0),
    "needles": Share(0.2, 8, (4, 8), needles=4, questions=6, leaps=0.0),
}


@dataclass(frozen=True)
class Training:
    """One stage of a reader's; `after` names the stage whose weights it begins with."""

    steps: int
    lr: float
    seed: int
    shares: dict[str, Share]
    after: str | None = None
    decay_share: float = 0.7


TRAININGS = {
    "words": Training(500, 4e-3, 30, WORDS, decay_share=0.0),
    "long-text": Training(900, 3e-3, 31, LONG_TEXT, "words"),
    "short-text": Training(900, 3e-3, 31, SHORT_TEXT, "words"),
    "a": Training(600, 2e-3, 32, PICTURES, "long-text"),
    "b": Training(600, 2e-3, 32, PICTURES, "short-text"),
    "c": Training(600, 2e-3, 32, SHORT_CLIPS, "long-text"),
}
ARMS = {
    "a": "long text, then single images",
    "b": "short text, then single images",
    "c": "long text, then single images and clips of up to 8 frames",
}
GRID = Grid((1, 8, 32, 128, 512, 1000, 2000), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
NUM_NEEDLES = 5
LINES = (1, 8, 32, 128, 512, 1000)
TASKS = (
    *("colour", "shape", "number", "letter", "position", "count", "yes-no", "who has it", "background", "description"),
    *("start colour", "end colour", "direction", "order"),
)


def bundled_eyes() -> Eyes:
    """The tower and the projector of the bundled model."""
    model = LongVAForConditionalGeneration.from_pretrained(WEIGHTS, dtype=torch.float32)
    eyes, tower = Eyes(), "model.vision_tower.vision_tower.vision_model."
    state = model.state_dict()
    eyes.tower.load_state_dict({key.removeprefix(tower): state[key] for key in state if key.startswith(tower)})
    projector = "model.mm_projector."
    eyes.projector.load_state_dict(
        {key.removeprefix(projector): state[key] for key in state if key.startswith(projector)}
    )
    return eyes


def train(name: str, folder: Path, eyes: Eyes, tokenizer: Tokenizer, steps: int | None) -> Path:
    """The checkpoint of a stage; those before it are trained first, and what is there goes on where it ended."""
    stage = TRAININGS[name]
    before = train(stage.after, folder, eyes, tokenizer, steps) if stage.after else None
    return train_reader(
        folder,
        name,
        tokenizer,
        MixedTokens(eyes, stage.seed, SEEN_SHARE),
        stage.shares,
        steps or stage.steps,
        stage.seed,
        stage.lr,
        start_from=before,
        decay_share=stage.decay_share,
        num_layers=NUM_LAYERS,
    )


def needles_in_text(asker: Asker, num_lines: int, count: int) -> float:
    """Share of right answers about a line with a number among `num_lines` that have none, ten to a text."""
    rng, right = random.Random(9_300_000 + num_lines), 0
    lines: list[str] = []
    for index in range(count):
        if index % 10 == 0:
            lines = [describe(scene) for scene in haystack(rng, num_lines)]
        shape, colour, digit = rng.randrange(len(SHAPES)), rng.randrange(len(COLOUR_NAMES)), rng.randrange(len(DIGITS))
        told = list(lines)
        told[rng.randrange(num_lines)] = describe(needle_scene(rng, shape, colour, digit))
        question = f"What number is on the {COLOUR_NAMES[colour]} {SHAPES[shape]}?"
        [answer] = asker.ask(asker.embed("\n".join(told))[0], [question])
        right += answer == f"The number is {DIGITS[digit]}."
    return right / count


def needles_in_frames(weights: Path, grid: Grid, num_needles: int) -> list[Result]:
    """V-NIAH as the product runs it."""
    engine = Engine(load(str(weights), "none", "cpu", "float32"), Settings())
    needles = drawn_needles()[:num_needles]
    with tempfile.TemporaryDirectory(prefix="longva-transfer-") as folder:
        frames = Haystack(engine, max(grid.frames), Path(folder))
        for _ in frames.fill(drawn_frames(max(grid.frames))):
            pass
        cells = grid.cells(num_needles)
        events = run(engine, frames, needles, cells, with_attribution=False)
        return [event for event in events if isinstance(event, Result)]


def row(name: str, scores: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{score:.2f}" for score in scores) + " |"


def table(head: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *rows])


def measure(folder: Path, eyes: Eyes, tokenizer: Tokenizer, few: bool) -> str:
    """Everything about the trained readers as tables; the heat maps go beside the page, or into `folder` with `few`."""
    grid = replace(GRID, frames=GRID.frames[:3]) if few else GRID
    lines = LINES[:3] if few else LINES
    shares = 10 if few else 1
    text, frames, tasks = [], [], {}
    for name in TRAININGS:
        weights = export(folder / f"weights-{name}", eyes, load_reader(folder, name), tokenizer)
        asker = Asker(weights)
        title = f"{name}: {ARMS[name]}" if name in ARMS else name.replace("-", " ")
        text.append(row(title, [needles_in_text(asker, num_lines, 60 // shares) for num_lines in lines]))
        print(text[-1], flush=True)
        if name not in ARMS:
            continue
        results = needles_in_frames(weights, grid, NUM_NEEDLES)
        picture = (folder if few else PAGE.parent) / f"transfer-{name}.png"
        draw_heat_map(results, grid, f"V-NIAH, {ARMS[name]}", [picture])
        by_size = [[result.forced for result in results if result.cell.frames == size] for size in grid.frames]
        frames.append(row(title, [sum(some) / len(some) for some in by_size]))
        print(frames[-1], flush=True)
        tally = Tally()
        single_scenes(asker, tally, 150 // shares, 9_310_000)
        clips(asker, tally, 60 // shares, 9_320_000)
        tasks[name] = {task: tally.right[task] / tally.total[task] for task in TASKS}
    return "\n\n".join(
        [
            "Needle in frames (teacher-forced score, mean over depths and needles), by number of frames:",
            table(["training", *(f"{n:,}" for n in grid.frames)], frames),
            "Needle in text (exact answers), by number of lines of about ten tokens:",
            table(["training", *(f"{n:,}" for n in lines)], text),
            "Single images, and clips of 8 to 32 frames (exact answers):",
            table(["task", *tasks], [row(task, [tasks[name][task] for name in tasks]) for task in TASKS]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/transfer"), help="folder of the checkpoints")
    parser.add_argument("--steps", type=int, help="instead of each training's own number of steps")
    parser.add_argument("--only", choices=list(TRAININGS), help="train this one and measure nothing")
    parser.add_argument("--few", action="store_true", help="measure on little, and leave docs/transfer.md alone")
    options = parser.parse_args()
    eyes, tokenizer = bundled_eyes(), get_tokenizer(options.out)
    for name in [options.only] if options.only else TRAININGS:
        train(name, options.out, eyes, tokenizer, options.steps)
    if options.only:
        return
    text = measure(options.out, eyes, tokenizer, options.few)
    if not options.few:
        head, rest = PAGE.read_text(encoding="utf-8").split("<!-- tables -->\n", 1)
        tail = rest.split("<!-- end of tables -->", 1)[1]
        PAGE.write_text(f"{head}<!-- tables -->\n{text}\n<!-- end of tables -->{tail}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
