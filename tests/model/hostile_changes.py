"""Ways to change a checkpoint's folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.model.golden import COPY

A = COPY / "a" / "checkpoint"
SHARD = "model-00001-of-00003.safetensors"
INDEX = "model.safetensors.index.json"
TOWER = "openai/clip-vit-large-patch14-336"
Change = Callable[[Path], object]


def edit(name: str, **changes: object) -> Change:
    """Set values of a JSON file."""

    def change(folder: Path) -> None:
        file = folder / name
        values = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps(values | changes))

    return change


def config(**changes: object) -> Change:
    return edit("config.json", **changes)


def vision(**changes: object) -> Change:
    """Set values of the vision tower's configuration, inside config.json."""
    shape = json.loads((A.parent / TOWER / "config.json").read_text())["vision_config"]
    return config(vision_config=shape | changes)


def write(name: str, content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return change


def fifo(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def link(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def remove(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def all_of(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def sparse(name: str, num_bytes: int) -> Change:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as stream:
            stream.truncate(num_bytes)

    return change


def weight_map(**places: object) -> Change:
    """Set where the index says that tensors are; dots in their names are written as two underscores."""
    given = {name.replace("__", "."): place for name, place in places.items()}

    def change(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"] |= given
        (folder / INDEX).write_text(json.dumps(index))

    return change


def tokenizer(part: str, value: object) -> Change:
    """Replace a part of tokenizer.json, which is used as it is."""
    return all_of(
        edit("tokenizer.json", **{part: value}),
        edit("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast"),
    )


def adapter(**changes: object) -> Change:
    """Turn the folder into a LoRA adapter for the checkpoint, which is moved into it."""

    def change(folder: Path) -> None:
        base = folder / "base"
        base.mkdir()
        for file in [file for file in folder.iterdir() if file != base]:
            file.rename(base / file.name)
        name = "base_model.model.model.layers.0.self_attn.q_proj"
        tensors = {f"{name}.lora_A.weight": torch.ones(4, 64), f"{name}.lora_B.weight": torch.ones(64, 4)}
        save_file(tensors, folder / "adapter_model.safetensors")
        values = {"peft_type": "LORA", "base_model_name_or_path": "base", "r": 4, "lora_alpha": 8}
        values |= {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
        (folder / "adapter_config.json").write_text(json.dumps(values | changes))

    return change


def header(content: bytes, length: int | None = None) -> Change:
    """A file of weights with this header, and no data."""
    return write(SHARD, (len(content) if length is None else length).to_bytes(8, "little") + content)
