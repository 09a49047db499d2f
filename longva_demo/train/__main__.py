"""The two stages of LongVA's training, with transformers' Trainer and accelerate.

    python -m longva_demo.train text longva_demo/train/configs/text.yaml --model Qwen/Qwen2-7B-Instruct \\
        --data books.jsonl --output_dir long-text
    python -m longva_demo.train align longva_demo/train/configs/align.yaml --model long-text \\
        --data llava_1_6.json --images pictures --output_dir longva

A configuration file sets flags; the command line overrides it. Every flag of transformers' TrainingArguments works.
Use accelerate for several processes, FSDP, DeepSpeed and context parallelism:

    accelerate launch --config_file longva_demo/train/configs/fsdp_context_8.yaml -m longva_demo.train text ...
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import distributed
from transformers import HfArgumentParser, TrainingArguments

from longva_demo.errors import DemoError
from longva_demo.train.align import AlignOptions, align
from longva_demo.train.text import TextOptions, train_text

STAGES: dict[str, tuple[type, Any]] = {"text": (TextOptions, train_text), "align": (AlignOptions, align)}
USAGE = f"usage: python -m longva_demo.train {'|'.join(STAGES)} [CONFIG.yaml] [--flag value ...]; see --help"
CONFIG_SUFFIXES = (".yaml", ".yml")


def read_flags(path: str) -> list[str]:
    """Read a configuration file as command-line flags.

    Raises:
        DemoError: the file cannot be read, or is not a mapping of flags to values.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DemoError(f"{path} cannot be read ({error})", "use a YAML file of flags and values") from error
    if not isinstance(values, dict):
        raise DemoError(f"{path} contains no flags", "write one 'name: value' per line")
    flags = []
    for name, value in values.items():
        flags += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return flags


def main(arguments: Sequence[str]) -> int:
    stage, *rest = arguments or [""]
    if stage in ("-h", "--help"):
        print(__doc__)
        return 0
    if stage not in STAGES:
        print(USAGE, file=sys.stderr)
        return 2
    options_class, run = STAGES[stage]
    classes: Any = [options_class, TrainingArguments]
    parser = HfArgumentParser(classes, prog=f"longva_demo.train {stage}")
    try:
        if rest and rest[0].endswith(CONFIG_SUFFIXES):
            rest = [*read_flags(rest[0]), *rest[1:]]
        options, training = parser.parse_args_into_dataclasses(rest)
        run(options, training)
        end_process_group()
    except (DemoError, OSError) as error:  # transformers raises OSError if a model does not exist
        print(f"longva_demo.train: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def end_process_group() -> None:
    """Leave the processes' group together: its threads crash a process that ends before them."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
