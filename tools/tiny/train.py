"""Train the bundled model from scratch: all stages in order, with fixed seeds.

    python -m tools.tiny.train                                     # all stages; hours on two CPU cores
    python -m tools.tiny.train --stage language-2-all-clips        # one stage; resumes its checkpoint if there is one
    python -m tools.tiny.train --steps 2 --out build/try           # a quick check: two steps of every stage

`--start-from` starts a stage from an exported model instead of earlier checkpoints. Two independent stages can run at
the same time in two processes, such as the first vision and the first language-model stage.
"""

import argparse
import os
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import distributed, multiprocessing

from tools.tiny.checkpoints import (
    final_language_model,
    final_vision,
    get_tokenizer,
    language_model_after,
    start_from_export,
    vision_after,
)
from tools.tiny.export import export
from tools.tiny.frame_tokens import CODE_NOISE, FramesToTokens, MixedTokens, code_tokens
from tools.tiny.network import Codes
from tools.tiny.stages import STAGES, LanguageStage, VisionStage
from tools.tiny.train_language_model import train_language_model
from tools.tiny.train_vision import train_vision

DEFAULT_OUT = Path("build/tiny")
RENDEZVOUS = "rendezvous"


def train_stage(name: str, folder: Path, steps: int, tokenizer: Tokenizer) -> Path:
    """Train one stage for `steps`. Returns its checkpoint, `folder/{name}.pt`."""
    stage = STAGES[name]
    if isinstance(stage, VisionStage):
        return train_vision(
            folder,
            name,
            steps,
            stage.seed,
            stage.lr,
            start_from=vision_after(folder, stage.after) if stage.after else None,
            decay_share=stage.decay_share,
            mix=stage.frames,
        )
    if stage.encoded_share:
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        vision = vision_after(folder, stage.vision)
        tokens: FramesToTokens = MixedTokens(vision, stage.frames_seed + rank, stage.encoded_share)
    else:
        tokens = code_tokens(Codes.make(), CODE_NOISE, stage.frames_seed)
    start_from = language_model_after(folder, stage.after) if stage.after else None
    return train_language_model(folder, name, stage, tokenizer, tokens, steps, start_from)


def run_worker(rank: int, processes: int, name: str, folder: Path, steps: int) -> None:
    """One of several processes, with one thread each, that train a stage data-parallel."""
    torch.set_num_threads(1)
    rendezvous = f"file://{(folder / RENDEZVOUS).resolve()}"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=processes)
    train_stage(name, folder, steps, get_tokenizer(folder))
    distributed.destroy_process_group()


def run_stage(name: str, folder: Path, steps: int, processes: int) -> None:
    tokenizer = get_tokenizer(folder)
    if processes == 1 or not isinstance(STAGES[name], LanguageStage):
        train_stage(name, folder, steps, tokenizer)
        return
    (folder / RENDEZVOUS).unlink(missing_ok=True)
    multiprocessing.spawn(run_worker, (processes, name, folder, steps), nprocs=processes)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--stage", choices=(*STAGES, "export"), metavar="NAME", help="only this stage, or export (default: everything)"
    )
    parser.add_argument("--start-from", type=Path, metavar="FOLDER", help="exported model that --stage starts from")
    parser.add_argument("--steps", type=int, help="replaces each stage's own number of steps")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--processes", type=int, default=1, help="data-parallel processes for language-model stages")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the checkpoints")
    parser.add_argument("--weights", type=Path, help="folder to export to (default: OUT/weights)")
    options = parser.parse_args()
    if options.start_from and (options.stage not in STAGES or STAGES[options.stage].after is None):
        parser.error("--start-from needs a --stage that follows another stage")
    return options


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    if options.start_from:
        start_from_export(options.start_from, options.out, options.stage)
    tokenizer = get_tokenizer(options.out)
    for name, stage in STAGES.items():
        if options.stage in (None, name):
            run_stage(name, options.out, options.steps or stage.steps, options.processes)
    if options.stage in (None, "export"):
        target = options.weights or options.out / "weights"
        export(target, final_vision(options.out), final_language_model(options.out), tokenizer)
        print(f"{target}: {sum(file.stat().st_size for file in target.rglob('*') if file.is_file())} bytes")


if __name__ == "__main__":
    main()
