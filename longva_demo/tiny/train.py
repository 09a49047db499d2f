"""Train the bundled model from nothing: all stages in order, with fixed seeds.

    python -m longva_demo.tiny.train                  # everything; hours on two CPU cores
    python -m longva_demo.tiny.train --stage joint    # one stage, continuing from its checkpoint if there is one
    python -m longva_demo.tiny.train --steps 2 --out /tmp/x   # every stage for two steps: does it run?

Stages "eyes" and "reader"/"long" need nothing of each other and can run side by side in two processes.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from longva_demo.tiny.export import export
from longva_demo.tiny.network import Codes, Eyes
from longva_demo.tiny.text import train_tokenizer
from longva_demo.tiny.train_eyes import train_eyes
from longva_demo.tiny.train_reader import FULL, SHORT, SeenTokens, code_tokens, train_reader

DEFAULT_OUT = Path("build/tiny")


@dataclass(frozen=True)
class Stage:
    """`run(folder, steps, tokenizer)` writes `folder/{name}.pt`. `about` is what docs/tiny.md says of it."""

    steps: int
    seed: int
    about: str
    run: Callable[[Path, int, Tokenizer], Path]


def run_eyes(folder: Path, steps: int, _: Tokenizer) -> Path:
    return train_eyes(folder, steps, seed=101, lr=2.5e-3)


def run_reader(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    tokens = code_tokens(Codes.make(), noise=0.06, seed=5)
    easy_steps = min(160, steps // 2)
    return train_reader(
        folder,
        "reader",
        tokenizer,
        tokens,
        SHORT,
        steps,
        seed=202,
        lr=6e-3,
        gap_share=0.15,
        decay_share=0.6,
        easy_steps=easy_steps,
    )


def run_long(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    tokens = code_tokens(Codes.make(), noise=0.06, seed=6)
    before = folder / "reader.pt"
    return train_reader(folder, "long", tokenizer, tokens, FULL, steps, seed=303, lr=2.5e-3, start_from=before)


def load_eyes(folder: Path) -> Eyes:
    eyes = Eyes()
    eyes.load_state_dict(torch.load(folder / "eyes.pt", weights_only=True)["eyes"])
    return eyes


def run_joint(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    tokens = SeenTokens(load_eyes(folder), seed=7)
    before = folder / "long.pt"
    return train_reader(folder, "joint", tokenizer, tokens, FULL, steps, seed=404, lr=2e-3, start_from=before)


STAGES: dict[str, Stage] = {
    "eyes": Stage(2800, 101, "tower and projector, single frames against scene codes", run_eyes),
    "reader": Stage(1300, 202, "Qwen2 on scene codes: pictures and short clips", run_reader),
    "long": Stage(500, 303, "Qwen2 on scene codes: all lengths up to 256 frames", run_long),
    "joint": Stage(900, 404, "Qwen2 on what the trained eyes see in drawn and degraded frames", run_joint),
}


def get_tokenizer(folder: Path) -> Tokenizer:
    """The one in the folder, or a new one, which is always the same."""
    path = folder / "tokenizer.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=(*STAGES, "export"), help="only this one (default: all, then export)")
    parser.add_argument("--steps", type=int, help="instead of each stage's own number of steps")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the checkpoints")
    parser.add_argument(
        "--weights", type=Path, help="where to export to (default: OUT/weights; the bundle is left alone)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = get_tokenizer(options.out)
    for name, stage in STAGES.items():
        if options.stage in (None, name):
            stage.run(options.out, options.steps or stage.steps, tokenizer)
    if options.stage in (None, "export"):
        target = options.weights or options.out / "weights"
        export(target, options.out / "eyes.pt", options.out / "joint.pt", tokenizer)
        print(f"{target}: {sum(file.stat().st_size for file in target.rglob('*') if file.is_file())} bytes")


if __name__ == "__main__":
    main()
