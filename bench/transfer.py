"""Long context transfer at a small scale: is it pictures of many grids that carry a long text context over to frames?

LongVA's recipe (arXiv 2406.16852) trains a language model on long text and aligns it with single pictures only, cut
into grids by UniRes, and the result understands long video. Here the text describes frames, one line per frame, and
the vision model is the bundled one, frozen. There are two text models and five alignments:

    python -m bench.transfer                  # trains what is missing, measures, writes docs/transfer.md
    python -m bench.transfer --steps 3 --few  # a quick check
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from tokenizers import Tokenizer

from longva_demo.chat import LocalEngine
from longva_demo.model import load
from longva_demo.niah.drawn import drawn_needles
from longva_demo.niah.grid import Grid
from longva_demo.niah.haystack import Haystack, drawn_frames
from longva_demo.niah.plot import Panel, draw_panels
from longva_demo.niah.results import score_table
from longva_demo.niah.run import Result, run
from longva_demo.settings import Settings
from longva_demo.tiny.clips import haystack, needle_scene
from longva_demo.tiny.questions import describe
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES, Mix
from tools.tiny.align import COLLAGES, Alignment, align, aligned_vision
from tools.tiny.ask import WEIGHTS, TinyModel
from tools.tiny.checkpoints import get_tokenizer, load_language_model
from tools.tiny.episodes import EpisodeKind, Mixture
from tools.tiny.evaluate import Tally, clips, single_scenes
from tools.tiny.export import export, split_checkpoint
from tools.tiny.frame_tokens import MixedTokens
from tools.tiny.network import VisionModel
from tools.tiny.stages import LanguageStage
from tools.tiny.train_language_model import train_language_model

PAGE = Path(__file__).parents[1] / "docs" / "transfer.md"
NUM_LAYERS = 4
ENCODED_SHARE = 0.3

# Scenes that one line of text describes fully: up to three things, without the position of a word.
DESCRIBED = Mix(count_weights=(0.0, 0.3, 0.4, 0.3), word_share=0.1)
DESCRIBED_QUESTIONS = {
    **{"colour": 2.0, "shape": 2.0, "symbol": 3.0, "position": 2.0, "about": 1.5},
    **{"background": 0.5, "is_there": 1.0, "who_has": 1.0, "describe": 0.5},
}
# Look-up by name is learned first: everything else depends on it.
NAMES = Mix(count_weights=(0.0, 0.2, 0.4, 0.4), word_share=0.0, symbol_share=0.7, bare_share=0.0)
NAME_QUESTIONS = {"symbol": 3.0, "about": 1.0, "colour": 1.0, "shape": 1.0, "position": 1.0}
WORDS: Mixture = {"text picture": EpisodeKind(1.0, 20, skips=0.0, mix=NAMES, ask=NAME_QUESTIONS, as_text=True)}
SHORT_TEXT: Mixture = {
    "text picture": EpisodeKind(4.0, 16, skips=0.0, mix=DESCRIBED, ask=DESCRIBED_QUESTIONS, as_text=True),
    "text needles": EpisodeKind(3.0, 8, (2, 4, 8), needles=3, questions=4, skips=0.0, as_text=True),
}
LONG_TEXT: Mixture = SHORT_TEXT | {
    "text needles": EpisodeKind(1.5, 6, (4, 8, 16), needles=3, questions=4, as_text=True),
    "long text": EpisodeKind(1.5, 3, (64,), needles=4, questions=6, as_text=True),
    "longer text": EpisodeKind(1.5, 1, (160, 256), needles=8, questions=10, as_text=True),
    "far needle": EpisodeKind(1.5, 3, (32, 64, 128), needles=1, questions=3, as_text=True),
}
PICTURES: Mixture = {"picture": EpisodeKind(1.0, 16, skips=0.0)}


def text_stage(steps: int, lr: float, seed: int, mixture: Mixture, after: str | None = None) -> LanguageStage:
    decay_share = 0.7 if after else 0.0
    return LanguageStage(steps, seed, lr, mixture=mixture, after=after, decay_share=decay_share, num_layers=NUM_LAYERS)


TEXTS = {
    "words": text_stage(500, 4e-3, 30, WORDS),
    "long-text": text_stage(900, 3e-3, 31, LONG_TEXT, "words"),
    "short-text": text_stage(900, 3e-3, 31, SHORT_TEXT, "words"),
}


@dataclass(frozen=True)
class Arm:
    """An alignment, and what it is called."""

    title: str
    alignment: Alignment


class Measured(TypedDict):
    """Exact answers about text by number of lines, and, of aligned models, scores by frames and depth, and by task."""

    text: list[float]
    frames: list[tuple[int, float, float]]
    tasks: dict[str, float]


def make_arm(title: str, after: str, mixtures: tuple[Mixture, ...], lr: float = 1e-3) -> Arm:
    return Arm(title, Alignment(after, mixtures, 800, 40, lr, 2e-3, ENCODED_SHARE))


ARMS = {
    "long": make_arm("long text, UniRes", "long-text", (PICTURES, COLLAGES, LONG_TEXT)),
    "short": make_arm("short text, UniRes", "short-text", (PICTURES, COLLAGES, SHORT_TEXT)),
    "one-grid": make_arm("long text, one grid per picture", "long-text", (PICTURES, PICTURES, LONG_TEXT)),
    "frozen": make_arm("long text, UniRes, language model frozen", "long-text", (PICTURES, COLLAGES), lr=0.0),
    "no-replay": make_arm("long text, UniRes, without replay of text", "long-text", (PICTURES, COLLAGES)),
}


def title(name: str) -> str:
    return ARMS[name].title if name in ARMS else name.replace("-", " ")


GRID = Grid((1, 8, 32, 128, 512, 1000, 2000), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
NUM_NEEDLES = 10
LINES = (1, 8, 32, 128, 512, 1000)
TASKS = (
    *("colour", "shape", "number", "letter", "position", "count", "yes-no", "who has it", "background", "description"),
    *("start colour", "end colour", "direction", "order"),
)


def bundled_vision() -> VisionModel:
    """The vision tower and projector of the bundled model."""
    vision = VisionModel()
    vision.load_state_dict(split_checkpoint(WEIGHTS)[0])
    return vision


def train(name: str, folder: Path, vision: VisionModel, tokenizer: Tokenizer, steps: int | None) -> None:
    """Train a stage and those before it. Existing checkpoints are resumed."""
    after = ARMS[name].alignment.after if name in ARMS else TEXTS[name].after
    start_from = None
    if after:
        train(after, folder, vision, tokenizer, steps)
        start_from = load_language_model(folder, after)
    if name in TEXTS:
        stage = TEXTS[name]
        tokens = MixedTokens(vision, stage.seed, ENCODED_SHARE)
        train_language_model(folder, name, stage, tokenizer, tokens, steps or stage.steps, start_from)
    else:
        assert start_from is not None
        align(folder, name, ARMS[name].alignment, tokenizer, vision, start_from, steps)


def needles_in_text(model: TinyModel, num_lines: int, count: int) -> float:
    """Accuracy on one line with a number among `num_lines`. Ten needles share a haystack."""
    rng, right = random.Random(9_300_000 + num_lines), 0
    lines: list[str] = []
    for index in range(count):
        if index % 10 == 0:
            lines = [describe(scene) for scene in haystack(rng, num_lines)]
        shape, colour, digit = rng.randrange(len(SHAPES)), rng.randrange(len(COLOUR_NAMES)), rng.randrange(len(DIGITS))
        text = list(lines)
        text[rng.randrange(num_lines)] = describe(needle_scene(rng, shape, colour, digit))
        question = f"What number is on the {COLOUR_NAMES[colour]} {SHAPES[shape]}?"
        [answer] = model.ask(model.embed("\n".join(text))[0], [question])
        right += answer == f"The number is {DIGITS[digit]}."
    return right / count


def needles_in_frames(weights: Path, grid: Grid, num_needles: int) -> list[Result]:
    """V-NIAH, as `longva-demo niah` runs it."""
    engine = LocalEngine(load(str(weights), "none", "cpu", "float32"), Settings())
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


def measure(name: str, folder: Path, vision: VisionModel, tokenizer: Tokenizer, few: bool) -> Measured:
    """Measure a model, or read what an earlier run measured and saved next to its checkpoint."""
    path = folder / f"{name}{'-few' if few else ''}.json"
    if path.exists():
        saved: Measured = json.loads(path.read_text(encoding="utf-8"))
        return saved
    divisor = 10 if few else 1
    seeing = aligned_vision(folder, name, vision) if name in ARMS else vision
    weights = export(folder / f"weights-{name}", seeing, load_language_model(folder, name), tokenizer)
    model = TinyModel(weights)
    text = [needles_in_text(model, num_lines, 30 // divisor) for num_lines in (LINES[:3] if few else LINES)]
    measured: Measured = {"text": text, "frames": [], "tasks": {}}
    if name in ARMS:
        tally = Tally()
        single_scenes(model, tally, 150 // divisor, 9_310_000)
        clips(model, tally, 60 // divisor, 9_320_000)
        measured["tasks"] = {task: tally.right[task] / tally.total[task] for task in TASKS}
        scores = score_table(needles_in_frames(weights, size_of_grid(few), NUM_NEEDLES // divisor))
        measured["frames"] = [(frames, depth, score) for (frames, depth), score in scores.items()]
    path.write_text(json.dumps(measured), encoding="utf-8")
    print(name, measured, flush=True)
    return measured


def size_of_grid(few: bool) -> Grid:
    return replace(GRID, frames=GRID.frames[:3]) if few else GRID


def tables(measured: dict[str, Measured], grid: Grid) -> str:
    frames, text = [], []
    for name, values in measured.items():
        text.append(row(title(name), values["text"]))
        if name in ARMS:
            by_size = [[score for at, _, score in values["frames"] if at == size] for size in grid.frames]
            frames.append(row(title(name), [sum(scores) / len(scores) for scores in by_size]))
    by_task = [row(task, [measured[name]["tasks"][task] for name in ARMS]) for task in TASKS]
    return "\n\n".join(
        [
            "Needle in frames (teacher-forced score, mean over depths and needles), by number of frames:",
            table(["training", *(f"{n:,}" for n in grid.frames)], frames),
            "Needle in text (exact answers), by number of lines of about ten tokens:",
            table(["training", *(f"{n:,}" for n in LINES[: len(measured["words"]["text"])])], text),
            "Single pictures, and clips of 8 to 32 frames (exact answers):",
            table(["task", *(title(name) for name in ARMS)], by_task),
        ]
    )


def draw_maps(measured: dict[str, Measured], grid: Grid, folder: Path) -> None:
    panels = {
        name: Panel({(frames, depth): score for frames, depth, score in measured[name]["frames"]}, title(name))
        for name in ARMS
    }
    draw_panels([panels["long"], panels["short"]], grid, [folder / "transfer.png"])
    others = [panel for name, panel in panels.items() if name not in ("long", "short")]
    draw_panels(others, grid, [folder / "transfer-others.png"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/transfer"), help="folder of checkpoints and results")
    parser.add_argument("--steps", type=int, help="replaces each stage's own number of steps")
    parser.add_argument("--only", choices=[*TEXTS, *ARMS], help="train and measure this model alone")
    parser.add_argument("--few", action="store_true", help="measure on few samples, without updating docs/transfer.md")
    options = parser.parse_args()
    vision, tokenizer = bundled_vision(), get_tokenizer(options.out)
    measured = {}
    for name in [options.only] if options.only else (*TEXTS, *ARMS):
        train(name, options.out, vision, tokenizer, options.steps)
        measured[name] = measure(name, options.out, vision, tokenizer, options.few)
    if options.only:
        return
    grid = size_of_grid(options.few)
    draw_maps(measured, grid, options.out if options.few else PAGE.parent)
    text = tables(measured, grid)
    print(text)
    if not options.few:
        head, rest = PAGE.read_text(encoding="utf-8").split("<!-- tables -->\n", 1)
        tail = rest.split("<!-- end of tables -->", 1)[1]
        PAGE.write_text(f"{head}<!-- tables -->\n{text}\n<!-- end of tables -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
