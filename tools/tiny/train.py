"""Train the bundled model from nothing: all stages in order, with fixed seeds.

    python -m tools.tiny.train                  # everything; hours on two CPU cores
    python -m tools.tiny.train --stage joint    # one stage, continuing from its checkpoint if there is one
    python -m tools.tiny.train --steps 2 --out build/try   # every stage for two steps: does it run?

Stages "eyes" and "binding" need nothing of each other and can run side by side in two processes; so can the later ones
of the eyes and those of the reader, but that "finding" needs "abroad". `--go-on-from` begins a stage with an exported
model in place of earlier checkpoints.
"""

import argparse
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, distributed, multiprocessing

from tools.tiny.export import export, take_apart
from tools.tiny.network import Codes, Eyes
from tools.tiny.text import train_tokenizer
from tools.tiny.train_eyes import Frames, save, train_eyes
from tools.tiny.train_reader import (
    ABSENT,
    ALL,
    APART,
    CHANGES,
    CHATS,
    CLIPS,
    COMPLETE,
    DECLINING,
    ENDURING,
    FINDING,
    FULL,
    LAST,
    LASTING,
    MOMENTS,
    PRESENT,
    SETTLED,
    STANDING,
    STEADY,
    TELLING,
    WHOLE,
    MixedTokens,
    Share,
    code_tokens,
    train_reader,
)

DEFAULT_OUT = Path("build/tiny")


@dataclass(frozen=True)
class Stage:
    """`about` is what docs/tiny.md says of it. All but EYES train the reader. Each begins with the weights of `after`.

    plan: steps for which the falling rate is set, where the stage ends before (`steps`).
    seen_share: of the clips, those whose frames go through the eyes (drawn with `frames_seed`); the others are codes.
    eyes: the stage of the eyes up to which they are trained then.
    shown: what the eyes are taught with.
    """

    steps: int
    seed: int
    lr: float
    about: str
    shares: dict[str, Share] = field(default_factory=dict)
    after: str | None = None
    plan: int | None = None
    seen_share: float = 0.0
    frames_seed: int = 1
    decay_share: float = 1.0
    apart_share: float = APART
    with_words: bool = False
    with_symbols: bool = False
    num_layers: int = 4
    added: tuple[int, ...] = ()
    eyes: str = "eyes"
    shown: Frames = field(default_factory=Frames)


CODES = "Qwen2 on scene codes"
LARGE = Frames(
    outside=0.15,
    near=0.7,
    smaller=0.25,
    large=0.6,
    counts=(0.03, 0.3, 0.14, 0.14, 0.14, 0.11, 0.07, 0.04, 0.03),
    bare=0.25,
)
STAGES: dict[str, Stage] = {
    "eyes": Stage(5600, 101, 2.5e-3, "tower and projector, single frames against scene codes", decay_share=0.4),
    "binding": Stage(
        500, 202, 5e-3, f"{CODES}: finding one of several things by its name", decay_share=0.0, apart_share=1.0
    ),
    "joint": Stage(
        1770,
        404,
        4e-3,
        f"{CODES} and on what the trained eyes see, all kinds of clips",
        FULL,
        "binding",
        plan=6000,
        seen_share=0.2,
        frames_seed=7,
        decay_share=0.85,
    ),
    "clips": Stage(
        1307,
        505,
        3.6e-3,
        "the same with more of what happens in time",
        CLIPS,
        "joint",
        plan=4000,
        seen_share=0.3,
        frames_seed=8,
        decay_share=0.8,
        with_words=True,
    ),
    "all": Stage(
        3000,
        606,
        1.8e-3,
        "the same with batches of words, counts and descriptions alone",
        ALL,
        "clips",
        seen_share=0.3,
        frames_seed=9,
    ),
    "changes": Stage(
        1000,
        707,
        1.5e-3,
        "the same with more of what was before and after",
        CHANGES,
        "all",
        seen_share=0.3,
        frames_seed=10,
    ),
    "moments": Stage(
        500,
        808,
        3e-3,
        "the same with two more layers, clips of eight frames",
        MOMENTS,
        "changes",
        seen_share=0.2,
        frames_seed=11,
        decay_share=0.0,
        num_layers=6,
        added=(1, 4),
    ),
    "whole": Stage(
        600,
        909,
        2.2e-3,
        "everything, clips of all lengths",
        WHOLE,
        "moments",
        plan=5000,
        seen_share=0.35,
        frames_seed=12,
        decay_share=1.0,
        num_layers=6,
    ),
    "last": Stage(
        3800,
        1010,
        1.8e-3,
        "with one more layer, which notices words, at a falling rate",
        LAST,
        "whole",
        seen_share=0.5,
        frames_seed=13,
        num_layers=7,
        added=(0,),
    ),
    "absent": Stage(
        4000,
        1111,
        1.8e-3,
        "with clips and pictures that lack what is asked for, at a falling rate",
        ABSENT,
        "last",
        seen_share=0.5,
        frames_seed=14,
        decay_share=0.9,
        num_layers=7,
    ),
    "telling": Stage(
        1014,
        1,
        1.8e-3,
        f"{CODES}: descriptions, and whether a symbol is there",
        TELLING,
        "absent",
        plan=3000,
        decay_share=0.9,
        num_layers=7,
    ),
    "sight": Stage(
        1500,
        1212,
        1.5e-3,
        "the eyes again, with smaller things and more black bars, at a falling rate",
        after="eyes",
        decay_share=0.9,
    ),
    "abroad": Stage(
        1000,
        1616,
        1.5e-3,
        "the eyes again, with more pictures that come near the small world but are not of it",
        after="sight",
        decay_share=0.9,
        shown=Frames(outside=0.22, near=0.7),
    ),
    "large": Stage(
        2400,
        1717,
        1.8e-3,
        "the eyes again, with more large things and bare symbols, at a falling rate",
        after="abroad",
        decay_share=0.9,
        shown=LARGE,
    ),
    "keen": Stage(
        1900,
        1919,
        1.2e-3,
        "the same once more",
        after="large",
        decay_share=0.9,
        shown=LARGE,
    ),
    "symbols": Stage(
        200,
        3,
        1.8e-3,
        "the same with one more layer, which finds symbols",
        PRESENT,
        "telling",
        plan=3000,
        decay_share=0.9,
        with_symbols=True,
        num_layers=8,
        added=(1,),
    ),
    "complete": Stage(
        2500,
        1313,
        1.8e-3,
        "everything, at a falling rate",
        COMPLETE,
        "symbols",
        seen_share=0.5,
        frames_seed=15,
        decay_share=0.9,
        num_layers=8,
    ),
    "standing": Stage(
        700,
        5,
        1.8e-3,
        f"{CODES}: what moves and what stands still",
        STANDING,
        "complete",
        decay_share=0.9,
        num_layers=8,
    ),
    "settled": Stage(
        2200,
        1414,
        1.8e-3,
        "everything, at a falling rate",
        SETTLED,
        "standing",
        seen_share=0.5,
        frames_seed=16,
        decay_share=0.9,
        num_layers=8,
    ),
    "steady": Stage(
        2600,
        1515,
        1.5e-3,
        "the same with more things that stand beside moving ones",
        STEADY,
        "settled",
        seen_share=0.35,
        frames_seed=17,
        decay_share=0.9,
        num_layers=8,
    ),
    "finding": Stage(
        3300,
        1818,
        1.5e-3,
        "the same with more things to be told apart by their symbols and places, as later eyes see them",
        FINDING,
        "steady",
        seen_share=0.5,
        frames_seed=18,
        decay_share=0.9,
        num_layers=8,
        eyes="abroad",
    ),
    "chats": Stage(
        180,
        2020,
        1.2e-3,
        f"{CODES}: long conversations, much that is no question, and every question in plain dress",
        CHATS,
        "finding",
        frames_seed=19,
        decay_share=0.8,
        apart_share=0.4,
        num_layers=8,
    ),
    "declining": Stage(
        60,
        2121,
        1.5e-3,
        f"{CODES}: half of many pictures' questions cannot be answered",
        DECLINING,
        "chats",
        frames_seed=20,
        decay_share=0.8,
        apart_share=0.8,
        num_layers=8,
    ),
    "lasting": Stage(
        420,
        2222,
        8e-4,
        "everything, with more of long conversations",
        LASTING,
        "declining",
        seen_share=0.25,
        frames_seed=21,
        decay_share=0.8,
        apart_share=0.3,
        num_layers=8,
        eyes="keen",
    ),
    "enduring": Stage(
        1300,
        2222,
        1e-3,
        "the same for longer, with more of long clips, beside the stage before",
        ENDURING,
        "declining",
        seen_share=0.4,
        frames_seed=21,
        decay_share=0.8,
        apart_share=0.3,
        num_layers=8,
        eyes="keen",
    ),
}
EYES = ("eyes", "sight", "abroad", "large", "keen")
READERS = ("steady", "finding", "chats")
# The weights go this far from those before a later stage of the eyes, or of these stages of the reader, to those after
# (Wortsman et al., 2021, arXiv 2109.01903): there they have nearly all that the stage taught, and have lost nothing of
# what they knew before.
LATER_SHARE = 0.6


def load_eyes(folder: Path, name: str) -> Eyes:
    eyes = Eyes()
    eyes.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True)["eyes"])
    return eyes


def eyes_after(folder: Path, name: str) -> Eyes:
    """What the stages of the eyes up to `name` come to: LATER_SHARE of the way to each in turn."""
    first, *later = EYES[: EYES.index(name) + 1]
    eyes = load_eyes(folder, first)
    with torch.no_grad():
        for stage in later:
            for ours, theirs in zip(eyes.parameters(), load_eyes(folder, stage).parameters(), strict=True):
                ours.lerp_(theirs, LATER_SHARE)
    return eyes


def final_eyes(folder: Path) -> Eyes:
    """What is exported."""
    return eyes_after(folder, EYES[-1])


def load_reader(folder: Path, name: str) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(folder / f"{name}.pt", weights_only=True)["reader"]
    return weights


def reader_after(folder: Path, name: str) -> dict[str, Tensor]:
    """What the stages of the reader up to `name` come to: through the last ones LATER_SHARE of the way to each."""
    if name not in READERS:
        return load_reader(folder, name)
    first, *later = READERS[: READERS.index(name) + 1]
    weights = load_reader(folder, first)
    for stage in later:
        theirs = load_reader(folder, stage)
        weights = {key: torch.lerp(weight, theirs[key], LATER_SHARE) for key, weight in weights.items()}
    return weights


def final_reader(folder: Path) -> dict[str, Tensor]:
    """What is exported: the mean of the last two stages, which began with the same weights.

    It errs less than either (Wortsman et al., 2022, arXiv 2203.05482).
    """
    one, two = (load_reader(folder, name) for name in list(STAGES)[-2:])
    return {key: torch.lerp(weight, two[key], 0.5) for key, weight in one.items()}


def train_stage(name: str, folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    """Train one stage for `steps`; returns its checkpoint, `folder/{name}.pt`."""
    stage = STAGES[name]
    if name in EYES:
        return train_eyes(
            folder,
            name,
            steps,
            stage.seed,
            stage.lr,
            start_from=eyes_after(folder, stage.after) if stage.after else None,
            decay_share=stage.decay_share,
            shown=stage.shown,
        )
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    codes = code_tokens(Codes.make(), noise=0.06, seed=stage.frames_seed)
    eyes = eyes_after(folder, stage.eyes) if stage.seen_share else None
    tokens = MixedTokens(eyes, stage.frames_seed + rank, stage.seen_share) if eyes else codes
    return train_reader(
        folder,
        name,
        tokenizer,
        tokens,
        stage.shares,
        stage.plan or steps,
        stage.seed,
        stage.lr,
        start_from=reader_after(folder, stage.after) if stage.after else None,
        stop=steps,
        with_words=stage.with_words,
        with_symbols=stage.with_symbols,
        decay_share=stage.decay_share,
        apart_share=stage.apart_share,
        num_layers=stage.num_layers,
        added=stage.added,
    )


def get_tokenizer(folder: Path) -> Tokenizer:
    """The one in the folder, or a new one, which is always the same."""
    path = folder / "tokenizer.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def go_on_from(checkpoint: Path, folder: Path, name: str) -> None:
    """Put the parts of an exported model where the stage `name` looks for what it begins with; and the tokenizer."""
    eyes, reader = take_apart(checkpoint)
    after = STAGES[name].after
    assert after is not None
    for eyes_name in EYES[: EYES.index(name)] if name in EYES else EYES:
        save(folder / f"{eyes_name}.pt", {"eyes": eyes})
    if name not in EYES:
        for reader_name in READERS[: READERS.index(after) + 1] if after in READERS else (after,):
            save(folder / f"{reader_name}.pt", {"reader": reader})
    shutil.copyfile(checkpoint / "tokenizer.json", folder / "tokenizer.json")


def run_one_of(rank: int, processes: int, name: str, folder: Path, steps: int) -> None:
    """One of several processes, a thread each, that train a stage together: gradients are averaged at every step."""
    torch.set_num_threads(1)
    meeting = f"file://{(folder / 'meeting').resolve()}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    train_stage(name, folder, steps, get_tokenizer(folder))
    distributed.destroy_process_group()


def run_stage(name: str, folder: Path, steps: int, processes: int) -> None:
    tokenizer = get_tokenizer(folder)
    if processes == 1 or name in EYES:
        train_stage(name, folder, steps, tokenizer)
        return
    (folder / "meeting").unlink(missing_ok=True)
    multiprocessing.spawn(run_one_of, (processes, name, folder, steps), nprocs=processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=(*STAGES, "export"), help="only this one (default: all, then export)")
    parser.add_argument(
        "--go-on-from", type=Path, help="an exported model, which stands for all that comes before --stage"
    )
    parser.add_argument("--steps", type=int, help="instead of each stage's own number of steps")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--processes", type=int, default=1, help="that share a reader's stage (as trained: 2 in joint)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the checkpoints")
    parser.add_argument(
        "--weights", type=Path, help="where to export to (default: OUT/weights; the bundle is left alone)"
    )
    options = parser.parse_args()
    if options.go_on_from and (options.stage not in STAGES or STAGES[options.stage].after is None):
        parser.error("--go-on-from needs a --stage that comes after another")
    torch.set_num_threads(options.threads)
    if options.go_on_from:
        go_on_from(options.go_on_from, options.out, options.stage)
    tokenizer = get_tokenizer(options.out)
    for name, stage in STAGES.items():
        if options.stage in (None, name):
            run_stage(name, options.out, options.steps or stage.steps, options.processes)
    if options.stage in (None, "export"):
        target = options.weights or options.out / "weights"
        export(target, final_eyes(options.out), final_reader(options.out), tokenizer)
        print(f"{target}: {sum(file.stat().st_size for file in target.rglob('*') if file.is_file())} bytes")


if __name__ == "__main__":
    main()
