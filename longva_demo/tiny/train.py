"""Train the bundled model from nothing: all stages in order, with fixed seeds.

    python -m longva_demo.tiny.train                  # everything; hours on two CPU cores
    python -m longva_demo.tiny.train --stage joint    # one stage, continuing from its checkpoint if there is one
    python -m longva_demo.tiny.train --steps 2 --out /tmp/x   # every stage for two steps: does it run?

Stages "eyes" and "binding" need nothing of each other and can run side by side in two processes.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import distributed, multiprocessing

from longva_demo.tiny.export import export
from longva_demo.tiny.network import Codes, Eyes
from longva_demo.tiny.text import train_tokenizer
from longva_demo.tiny.train_eyes import train_eyes
from longva_demo.tiny.train_reader import ALL, CHANGES, CLIPS, FULL, MixedTokens, code_tokens, train_reader

DEFAULT_OUT = Path("build/tiny")
JOINT_PLAN, CLIPS_PLAN = 6000, 4000  # steps for which the falling rates are set: these stages are ended long before


@dataclass(frozen=True)
class Stage:
    """`run(folder, steps, tokenizer)` writes `folder/{name}.pt`. `about` is what docs/tiny.md says of it."""

    steps: int
    seed: int
    about: str
    run: Callable[[Path, int, Tokenizer], Path]


def run_eyes(folder: Path, steps: int, _: Tokenizer) -> Path:
    return train_eyes(folder, steps, seed=101, lr=2.5e-3)


def run_binding(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    tokens = code_tokens(Codes.make(), noise=0.06, seed=1)
    return train_reader(
        folder,
        "binding",
        tokenizer,
        tokens,
        {},
        steps,
        seed=202,
        lr=5e-3,
        decay_share=0.0,
        apart_share=1.0,
    )


def load_eyes(folder: Path) -> Eyes:
    eyes = Eyes()
    eyes.load_state_dict(torch.load(folder / "eyes.pt", weights_only=True)["eyes"])
    return eyes


def run_joint(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    tokens = MixedTokens(load_eyes(folder), seed=7 + rank, seen_share=0.2)
    return train_reader(
        folder,
        "joint",
        tokenizer,
        tokens,
        FULL,
        JOINT_PLAN,
        seed=404,
        lr=4e-3,
        start_from=folder / "binding.pt",
        stop=steps,
        decay_share=0.85,
    )


def run_clips(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    return train_reader(
        folder,
        "clips",
        tokenizer,
        MixedTokens(load_eyes(folder), seed=8 + rank, seen_share=0.3),
        CLIPS,
        CLIPS_PLAN,
        seed=505,
        lr=3.6e-3,
        start_from=folder / "joint.pt",
        stop=steps,
        with_words=True,
        decay_share=0.8,
    )


def run_all(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    return train_reader(
        folder,
        "all",
        tokenizer,
        MixedTokens(load_eyes(folder), seed=9 + rank, seen_share=0.3),
        ALL,
        steps,
        seed=606,
        lr=1.8e-3,
        start_from=folder / "clips.pt",
        decay_share=1.0,
    )


def run_changes(folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    return train_reader(
        folder,
        "changes",
        tokenizer,
        MixedTokens(load_eyes(folder), seed=10 + rank, seen_share=0.3),
        CHANGES,
        steps,
        seed=707,
        lr=1.5e-3,
        start_from=folder / "all.pt",
        decay_share=1.0,
    )


STAGES: dict[str, Stage] = {
    "eyes": Stage(2800, 101, "tower and projector, single frames against scene codes", run_eyes),
    "binding": Stage(500, 202, "Qwen2 on scene codes: finding one of several things by its name", run_binding),
    "joint": Stage(1770, 404, "Qwen2 on scene codes and on what the trained eyes see, all kinds of clips", run_joint),
    "clips": Stage(1307, 505, "the same with more of what happens in time", run_clips),
    "all": Stage(
        3000, 606, "the same with batches of words, counts and descriptions alone, at a falling rate", run_all
    ),
    "changes": Stage(1000, 707, "the same with more of what was before and after, at a falling rate", run_changes),
}


def get_tokenizer(folder: Path) -> Tokenizer:
    """The one in the folder, or a new one, which is always the same."""
    path = folder / "tokenizer.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def run_one_of(rank: int, processes: int, name: str, folder: Path, steps: int) -> None:
    """One of several processes, a thread each, that train a stage together: gradients are averaged at every step."""
    torch.set_num_threads(1)
    meeting = f"file://{(folder / 'meeting').resolve()}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    STAGES[name].run(folder, steps, get_tokenizer(folder))
    distributed.destroy_process_group()


def run_stage(name: str, folder: Path, steps: int, processes: int) -> None:
    tokenizer = get_tokenizer(folder)
    if processes == 1 or name == "eyes":
        STAGES[name].run(folder, steps, tokenizer)
        return
    (folder / "meeting").unlink(missing_ok=True)
    multiprocessing.spawn(run_one_of, (processes, name, folder, steps), nprocs=processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=(*STAGES, "export"), help="only this one (default: all, then export)")
    parser.add_argument("--steps", type=int, help="instead of each stage's own number of steps")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--processes", type=int, default=1, help="that share a reader's stage (as trained: 2 in joint)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the checkpoints")
    parser.add_argument(
        "--weights", type=Path, help="where to export to (default: OUT/weights; the bundle is left alone)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = get_tokenizer(options.out)
    for name, stage in STAGES.items():
        if options.stage in (None, name):
            run_stage(name, options.out, options.steps or stage.steps, options.processes)
    if options.stage in (None, "export"):
        target = options.weights or options.out / "weights"
        export(target, options.out / "eyes.pt", options.out / f"{list(STAGES)[-1]}.pt", tokenizer)
        print(f"{target}: {sum(file.stat().st_size for file in target.rglob('*') if file.is_file())} bytes")


if __name__ == "__main__":
    main()
