"""Stage 1: the language model goes on with long text, so that its context grows (224K tokens, RoPE base 1e9)."""

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
from longva_demo.train.trainer import say_on_first


@dataclass
class TextOptions:
    """What is trained, and on what."""

    model: str = field(metadata={"help": "a Qwen2 or LongVA checkpoint: a folder or a Hub name"})
    data: str = field(metadata={"help": "a text file, or .jsonl with a 'text' a line"})
    seq_length: int = field(default=224_000, metadata={"help": "tokens of one sequence"})
    rope_theta: float | None = field(default=None, metadata={"help": "base of the rotary position embedding"})


class PackedText(Dataset):
    """Documents one after the other, an end mark after each, cut into sequences of equal length."""

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
        """Raises DemoError where the file cannot be read, or is shorter than one sequence."""
        end: Any = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        ids: list[int] = []
        for document in documents(path):
            ids += [*tokenizer(document, add_special_tokens=False)["input_ids"], end]
        if len(ids) < length:
            raise DemoError(f"{path} has {len(ids):,} tokens", f"give at least one sequence of {length:,}")
        return cls(torch.tensor(ids), length)


def documents(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix != ".jsonl":
                yield file.read()
                return
            for number, line in enumerate(file, start=1):
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                    raise DemoError(f"line {number} of {path} has no text", 'write {"text": ...} in each line')
                yield row["text"]
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read ({error})", "give a text file or .jsonl") from error


def train_text(options: TextOptions, training: TrainingArguments) -> None:
    """Train and save. The result is a checkpoint of the kind that was given."""
    if training.per_device_train_batch_size != 1:
        count = training.per_device_train_batch_size
        raise DemoError(f"per_device_train_batch_size is {count}", "use 1: each sequence is long enough")
    config = AutoConfig.from_pretrained(options.model)
    if options.rope_theta is not None:
        config.rope_parameters["rope_theta"] = options.rope_theta
    config.max_position_embeddings = max(config.max_position_embeddings, options.seq_length)
    tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
    data = PackedText.read(Path(options.data), tokenizer, options.seq_length)
    # Small steps would be lost in the 16 bits that checkpoints are stored in.
    model = AutoModelForCausalLM.from_pretrained(options.model, config=config, dtype="float32")
    if isinstance(config, LongVAConfig):  # text has no use for the eyes
        model.model.vision_tower.requires_grad_(False)
        model.model.mm_projector.requires_grad_(False)
    say_on_first(training, f"{len(data):,} sequences of {options.seq_length:,} tokens")
    trainer = Trainer(model, training, train_dataset=data, data_collator=lambda rows: rows[0])
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(training.output_dir)
