"""Reads the files of a checkpoint, which a stranger may have made: regular files of a plausible size, nothing else."""

import json
import stat
from math import prod
from pathlib import Path
from typing import Any

from longva_demo.errors import short

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
MAX_TEXT_BYTES = 4 * 2**20  # the largest of LongVA-7B, its index, has 0.1 MB
MAX_TOKENIZER_BYTES = 64 * 2**20  # LongVA-7B's tokenizer.json has 7 MB
MAX_HEADER_BYTES = 8 * 2**20  # those of LongVA-7B's weights have 0.1 MB
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "adapter_config.json",
    INDEX,
    *TOKENIZER_FILES,
)
PACKED = "U8"  # the dtype of 4-bit weights in a safetensors file, two per byte


def check_file(file: Path, limit: float = float("inf")) -> None:
    """Check a file before it is opened: opening a FIFO or a device would wait, and /proc has files without an end.

    Raises:
        ValueError: it is missing, not a regular file, empty or too large.
    """
    try:
        status = file.stat()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ValueError(f"{file} cannot be read ({getattr(error, 'strerror', error)})") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{file} is not a regular file")
    if status.st_size == 0:
        raise ValueError(f"{file} is empty")
    if status.st_size > limit:
        raise ValueError(f"{file} has {status.st_size:,} bytes; at most {limit:,} are read")


def check_texts(folder: Path) -> None:
    """Check all files of `folder` that transformers opens by their names, except the weights.

    Raises:
        ValueError: one is not a regular file, is empty or too large, or is not a JSON object.
    """
    templates = (folder / "additional_chat_templates").glob("*.jinja")
    for file in (*(folder / name for name in TEXT_FILES), *templates):
        if not (file.exists() or file.is_symlink()):
            continue
        if file.suffix == ".json" and file.name not in TOKENIZER_FILES:  # these are long, and are read once, by `load`
            read_object(file)
        else:
            check_file(file, max_bytes(file))


def check_local(checkpoint: Any, subfolder: str | None = None, **_: Any) -> None:
    """As `check_texts`, if `checkpoint` is a folder here. Takes the options of `from_pretrained`."""
    folder = Path(checkpoint) / (subfolder or "")
    if folder.is_dir():
        check_texts(folder)


def max_bytes(file: Path) -> int:
    return MAX_TOKENIZER_BYTES if file.name in TOKENIZER_FILES else MAX_TEXT_BYTES


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file cannot be read, is too large, or contains something else.
    """
    check_file(file, max_bytes(file))
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} is not a JSON object")
    return values


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers loads, single or sharded. They may be missing.

    Raises:
        ValueError: the index lists none, or names a file elsewhere.
    """
    if (folder / SINGLE).exists() or not (folder / INDEX).exists():
        return [folder / SINGLE]
    shards = read_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{folder / INDEX} lists no weights")
    for name in shards.values():
        is_plain = isinstance(name, str) and name.isprintable() and name == Path(name).name
        if not is_plain or not name.endswith(".safetensors"):
            raise ValueError(f"{folder / INDEX} names {short(name)}, which is not a safetensors file of its folder")
    return [folder / name for name in sorted(set(shards.values()))]


def read_header(file: Path) -> dict[str, Any]:
    """The dtype, shape and place (`data_offsets`) of each tensor in a safetensors file.

    Raises:
        ValueError: it is not a safetensors file, or has another size than its header says.
    """
    check_file(file)
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            tensors: dict[str, Any] = json.loads(stream.read(min(length, MAX_HEADER_BYTES)))
        tensors.pop("__metadata__", None)
        expected = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        is_right = size == expected and all(prod(tensor["shape"]) >= 0 for tensor in tensors.values())
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ValueError(f"{file} is not a safetensors file") from None
    if not is_right:
        raise ValueError(f"{file} has {size:,} bytes, but its header says {expected:,}")
    return tensors


def num_stored(folder: Path) -> int:
    """How many parameters the weights of a checkpoint have; a byte may hold two of 4 bits.

    Raises:
        ValueError: a file is not a safetensors file.
    """
    tensors = [tensor for file in weight_files(folder) for tensor in read_header(file).values()]
    return sum(prod(tensor["shape"]) * (2 if tensor.get("dtype") == PACKED else 1) for tensor in tensors)
