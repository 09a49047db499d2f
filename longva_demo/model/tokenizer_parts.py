"""Checks the parts of a tokenizer.json: a stranger's could take for ever over a question, or turn it into gigabytes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from longva_demo.errors import short
from longva_demo.model.checkpoint_files import TOKENIZER_FILES, read_object

SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
CHILDREN = ("normalizers", "pretokenizers", "processors", "decoders")  # of a Sequence
PARTS = {
    *("Sequence", "Replace", "Split", "ByteLevel", "TemplateProcessing", "Lowercase"),
    *("NFC", "NFD", "NFKC", "NFKD"),
}


def check_tokenizer(folder: Path, built_in: Path | None = None) -> None:
    """Check the tokenizer files of a checkpoint.

    Args:
        built_in: the folder of the built-in model. With it, the regular expressions and the replacements by longer
            texts must be those of its tokenizer or of Qwen2's; without it, all are allowed.

    Raises:
        ValueError: a file is not a JSON object, or has a part or a regular expression that is not known here.
    """
    for name in TOKENIZER_FILES:
        file = folder / name
        if not file.exists() or file.suffix != ".json":
            continue
        description = read_object(file)
        if file.name == "tokenizer.json":
            check_parts(description, file)
            if built_in is not None:
                check_patterns(description, list(parts(read_object(built_in / file.name))), file)


def check_parts(description: dict[str, Any], file: Path) -> None:
    model = description.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else model  # old files do not name it
    if not isinstance(model, dict) or kind != "BPE" or not isinstance(model.get("vocab"), dict):
        raise ValueError(f"{file} has a model of type {short(kind)}; only BPE with a vocabulary is supported")
    for part in parts(description):
        if not isinstance(part.get("type"), str) or part["type"] not in PARTS:
            raise ValueError(f"{file} has a part of type {short(part.get('type'))}; LongVA's tokenizers have none")


def check_patterns(description: dict[str, Any], known: list[dict[str, Any]], file: Path) -> None:
    for part in parts(description):
        pattern = part.get("pattern")
        if pattern is None or part in known:
            continue
        text = str(pattern.get("String", "")) if isinstance(pattern, dict) else ""
        if part["type"] == "Replace" and len(str(part.get("content"))) > max(1, len(text)):
            raise ValueError(f"{file} replaces {short(pattern)} by a longer text; LongVA's tokenizers do not")
        if not text and pattern != {"Regex": PRETOKENIZE_REGEX}:
            raise ValueError(f"{file} has the regular expression {short(pattern)}, which is not one of LongVA's")


def parts(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All normalisers, pre-tokenisers, post-processors and decoders of a tokenizer.json."""
    waiting = [description.get(section) for section in SECTIONS]
    while waiting:
        part = waiting.pop()
        if part is None:
            continue
        yield (found := part if isinstance(part, dict) else {"type": part})
        waiting += [child for name in CHILDREN for child in found.get(name) or []]
