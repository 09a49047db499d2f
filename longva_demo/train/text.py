"""Stage 1, context extension: train the language model further on long text (224K tokens, RoPE base 1e9)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from longva_demo.errors import DemoError
from longva_demo.model import LongVAConfig
from longva_demo.train.trainer import print_on_main_process


@dataclass
class TextOptions:
    """The model, the data and the sequence length."""

    model: str = field(metadata={"help": "a Qwen2 or LongVA checkpoint: a folder or a Hub name"})
    data: str = field(metadata={"help": "a text file, or .jsonl with a 'text' on each line"})
    seq_length: int = field(default=224_000, metadata={"help": "tokens per sequence"})
    rope_theta: float | None = field(default=None, metadata={"help": "base of the rotary position embedding"})


class PackedText(Dataset):
    """Documents concatenated with an end-of-text token after each, and cut into sequences of equal length."""

    def __init__(self, ids: torch.Tensor, length: int) -> None:
        self._ids = ids
        self._length = length

    def __len__(self) -> int:
        return len(self._ids) // self._length

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = self._ids[place * self._length : (place + 1) * self._length]
        return {"input_ids": ids[None], "labels": ids[None].clone()}

    @classmethod
    def read(cls, path: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> "PackedText":
        """Read a file. Raises DemoError if it cannot be read, or is shorter than one sequence."""
        end: Any = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        ids: list[int] = []
        for document in documents(path):
            ids += [*tokenizer(document, add_special_tokens=False)["input_ids"], end]
        if len(ids) < length:
            raise DemoError(f"{path} has only {len(ids):,} tokens", f"provide at least one sequence of {length:,}")
        return cls(torch.tensor(ids), length)


def documents(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix != ".jsonl":
                yield file.read()
                return
            for number, line in enumerate(file, start=1):
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                    raise DemoError(f"line {number} of {path} has no text", 'write {"text": ...} on each line')
                yield row["text"]
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read ({error})", "use a text file or .jsonl") from error


def train_text(options: TextOptions, training: TrainingArguments) -> None:
    """Train and save. The result is a checkpoint of the same model type as the input."""
    if training.per_device_train_batch_size != 1:
        count = training.per_device_train_batch_size
        raise DemoError(f"per_device_train_batch_size is {count}", "use 1: a single sequence is long enough")
    config = AutoConfig.from_pretrained(options.model, trust_remote_code=False)
    if options.rope_theta is not None:
        config.rope_parameters["rope_theta"] = options.rope_theta
    config.max_position_embeddings = max(config.max_position_embeddings, options.seq_length)
    tokenizer: Any = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False)
    data = PackedText.read(Path(options.data), tokenizer, options.seq_length)
    # Checkpoints are stored in 16 bits, in which small updates would be rounded away.
    model = AutoModelForCausalLM.from_pretrained(options.model, config=config, dtype="float32", trust_remote_code=False)
    if isinstance(config, LongVAConfig):  # text does not use the vision tower and the projector
        model.model.vision_tower.requires_grad_(False)
        model.model.mm_projector.requires_grad_(False)
    print_on_main_process(training, f"{len(data):,} sequences of {options.seq_length:,} tokens")
    trainer = Trainer(model, training, train_dataset=data, data_collator=lambda rows: rows[0])
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(training.output_dir)
