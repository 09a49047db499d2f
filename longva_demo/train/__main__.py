"""The two stages of LongVA's training, on transformers' Trainer and accelerate.

    python -m longva_demo.train text longva_demo/train/configs/text.yaml --model Qwen/Qwen2-7B-Instruct \\
        --data books.jsonl --output_dir long-text
    python -m longva_demo.train align longva_demo/train/configs/align.yaml --model long-text \\
        --data llava_1_6.json --images pictures --output_dir longva

A configuration holds flags; those on the command line win. Every flag of transformers' TrainingArguments works. Several
processes, FSDP, DeepSpeed and context parallelism come from accelerate:

    accelerate launch --config_file longva_demo/train/configs/fsdp_context_8.yaml -m longva_demo.train text ...
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, TrainingArguments

from longva_demo.errors import DemoError
from longva_demo.train.align import AlignOptions, align
from longva_demo.train.text import TextOptions, train_text

STAGES: dict[str, tuple[type, Any]] = {"text": (TextOptions, train_text), "align": (AlignOptions, align)}
USAGE = f"usage: python -m longva_demo.train {'|'.join(STAGES)} [CONFIG.yaml] [--flag value ...]; --help says more"
CONFIG_ENDINGS = (".yaml", ".yml")


def flags_of(path: str) -> list[str]:
    """The flags that a configuration file stands for.

    Raises:
        DemoError: it cannot be read, or is no list of names and values.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DemoError(f"{path} cannot be read ({error})", "give a YAML file of flags and values") from error
    if not isinstance(values, dict):
        raise DemoError(f"{path} holds no flags", "write one 'name: value' a line")
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
        if rest and rest[0].endswith(CONFIG_ENDINGS):
            rest = [*flags_of(rest[0]), *rest[1:]]
        options, training = parser.parse_args_into_dataclasses(rest)
        run(options, training)
    except (DemoError, OSError) as error:  # transformers says with an OSError that there is no such model
        print(f"longva_demo.train: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
