"""Checks of a checkpoint on the Hub without its weights: a few MB of config, tokenizer, and headers of safetensors."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from longva_demo.model.hub import INDEX, check_config, check_names, check_tower, read_json, remote_shapes
from tests.model.golden import ROOT

SMALL_FILES = [
    "config.json",
    "*/config.json",
    "generation_config.json",
    INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
]
# What the original code saved and nothing reads: buffers, and the pooling that is called a resampler.
UNUSED = (".position_ids", ".inv_freq")
UNUSED_PREFIX = "model.vision_resampler."
SPECIAL_TOKENS = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Snapshot:
    """What was fetched of a repository: a folder with its small files, and the names and shapes of its tensors."""

    repo_id: str
    folder: Path
    files: tuple[str, ...]
    shapes: Shapes

    @property
    def config(self) -> LongVAConfig:
        return LongVAConfig.from_pretrained(self.folder)


def fetch_snapshot(repo_id: str) -> Snapshot:
    info = HfApi().model_info(repo_id)
    files = tuple(file.rfilename for file in info.siblings or [])
    check_names(files, repo_id)
    folder = Path(snapshot_download(repo_id, revision=info.sha, allow_patterns=SMALL_FILES))
    shapes = {name: tuple(shape) for name, shape in remote_shapes(repo_id, info.sha, files).items()}
    return Snapshot(repo_id, folder, files, shapes)


def assert_config_is_accepted(snapshot: Snapshot, context_length: int, tokens_per_frame: int) -> None:
    """The config loads, and it describes the model that the name promises."""
    check_config(snapshot.folder / "config.json", snapshot.repo_id)
    check_tower(read_json(snapshot.folder / "config.json"), snapshot.repo_id, None, snapshot.files)
    config = snapshot.config
    assert config.context_length == context_length
    assert config.tokens_per_frame == tokens_per_frame


def assert_weights_fit(snapshot: Snapshot) -> None:
    """Each tensor of the model is in the repository, with its shape, and nothing else is that we would ignore."""
    with torch.device("meta"):
        model = LongVAForConditionalGeneration(snapshot.config)
    wanted: Shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    others = sorted(name for name in snapshot.shapes if name not in wanted and not is_unused(name))
    assert sorted(wanted.keys() - snapshot.shapes.keys()) == [], "missing in the repository"
    assert others == [], "unknown to the model"
    differing = {
        name: (snapshot.shapes[name], shape) for name, shape in wanted.items() if snapshot.shapes[name] != shape
    }
    assert differing == {}, "(shape in the repository, shape in the model)"
    index = snapshot.folder / INDEX
    if index.is_file():
        assert json.loads(index.read_text("utf-8"))["weight_map"].keys() == snapshot.shapes.keys()


def is_unused(name: str) -> bool:
    return name.endswith(UNUSED) or name.startswith(UNUSED_PREFIX)


def published_rows() -> list[tuple[str, list[int]]]:
    """Texts with their ids in Qwen2's vocabulary."""
    return [
        (text, ids) for text, ids in json.loads((ROOT / "tests" / "data" / "qwen2_ids.json").read_text("utf-8"))["rows"]
    ]


def assert_tokenizer_gives(
    snapshot: Snapshot, rows: Sequence[tuple[str, list[int]]], special_tokens: dict[str, int]
) -> None:
    """The ids of texts and special tokens, and the texts from the ids."""
    processor = LongVAProcessor.from_pretrained(snapshot.folder)
    tokenizer = processor.tokenizer
    assert len(rows) > 5
    for text, ids in rows:
        assert processor.encode_text(text, allow_special=True) == ids, text
        assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text), text
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in special_tokens} == special_tokens
    for name, token in special_tokens.items():
        assert processor.encode_text(name, allow_special=True) == [token]
        assert token not in processor.encode_text(name)  # what a visitor types is never a special token
    assert len(tokenizer) <= snapshot.config.vocab_size
