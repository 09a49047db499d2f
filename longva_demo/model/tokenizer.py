"""Loads a tokenizer without running its code, and saves it in the format that the original code reads."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from longva_demo.errors import short
from longva_demo.model.checkpoint_files import check_local
from longva_demo.model.config import write_json
from longva_demo.model.tokenizer_parts import check_tokenizer

# By `tokenizer_class` of tokenizer_config.json. AutoTokenizer would also take a class from a file beside it or from the
# Hub, and ask on standard input whether to.
TOKENIZERS: dict[Any, type[PreTrainedTokenizerFast]] = {
    "Qwen2Tokenizer": Qwen2Tokenizer,
    "Qwen2TokenizerFast": Qwen2Tokenizer,
    "PreTrainedTokenizerFast": PreTrainedTokenizerFast,
    "TokenizersBackend": PreTrainedTokenizerFast,
    None: PreTrainedTokenizerFast,
}


def load_tokenizer(checkpoint: Any, **options: Any) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a folder or a Hub repository. Options are those of `from_pretrained`.

    Raises:
        ValueError: a file of it is unusable, or it is of a class that LongVA's are not.
        OSError: there is none.
    """
    check_local(checkpoint, **options)
    check_tokenizer(Path(checkpoint) / (options.get("subfolder") or ""))
    name = get_tokenizer_config(checkpoint, **options).get("tokenizer_class")
    if not isinstance(name, str | None) or name not in TOKENIZERS:
        known = "Qwen2Tokenizer or PreTrainedTokenizerFast"
        raise ValueError(f"tokenizer_config.json has tokenizer_class = {short(name)}; only {known} is supported")
    return TOKENIZERS[name].from_pretrained(checkpoint, **options)


def image_token_id(tokenizer: Any) -> int:
    """The placeholder of one visual token: `<image>` where the tokenizer has it, else the first id after its tokens."""
    return tokenizer.get_vocab().get("<image>", len(tokenizer))


def write_original_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Add to a saved tokenizer the files and entries that the original code (transformers 4.40) reads."""
    description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in description["model"]["merges"]]
    description["model"]["merges"] = merges  # every version reads "a b"; newer ones write ["a", "b"]
    write_json(folder / "tokenizer.json", description)
    write_json(folder / "vocab.json", description["model"]["vocab"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    added = {token["content"]: token["id"] for token in description["added_tokens"]}
    write_json(folder / "added_tokens.json", added)
    values = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for name in ("backend", "is_local", "local_files_only"):  # describe the saving run, not the tokenizer
        values.pop(name, None)
    if values["tokenizer_class"] == "TokenizersBackend":  # its name since transformers 5, which reads both
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    values["padding_side"] = "right"  # of training; the processor pads on the left, for generation
    values["additional_special_tokens"] = values.pop("extra_special_tokens", [])
    entries = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    values["added_tokens_decoder"] = {
        str(token["id"]): {name: token[name] for name in entries} for token in description["added_tokens"]
    }
    if isinstance(tokenizer.chat_template, str):
        values["chat_template"] = tokenizer.chat_template
    write_json(folder / "tokenizer_config.json", values)
