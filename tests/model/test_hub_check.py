"""The checks of `make test-hub`, run against a local server: they pass on a good repository, and fail on each fault."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from longva_demo.errors import ModelError
from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from longva_demo.model.hub import INDEX
from tests.model.golden import COPY, ROOT
from tests.model.hub_check import (
    SPECIAL_TOKENS,
    Snapshot,
    assert_config_is_accepted,
    assert_tokenizer_gives,
    assert_weights_fit,
    fetch_snapshot,
    published_rows,
)
from tests.model.mini_hub import serve_hub
from tests.model.test_loading import point_at
from tests.model.test_published import DPO, TRAINING, copy_a, rewrite, tensors_of
from tests.model.test_random_checkpoint import load_script

A = COPY / "a" / "checkpoint"
SPECIAL_TOKENS_OF_A = {"<|endoftext|>": 597, "<|im_start|>": 598, "<|im_end|>": 599}
VISUAL = -200  # in the golden records
NUM_SHARDS = 4
Change = Callable[[Path], object]


def golden_rows() -> list[tuple[str, list[int]]]:
    """The pieces of the golden prompts between images, with the ids that the original code gives."""
    rows: list[tuple[str, list[int]]] = []
    for case in json.loads((A.parent / "cases.json").read_text("utf-8"))["cases"].values():
        ids: list[list[int]] = [[]]
        for token in case["input_ids"]:
            if token == VISUAL:
                ids.append([])
            else:
                ids[-1].append(token)
        rows += zip(case["prompt"].split("<image>"), ids, strict=True)
    return rows


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Checkpoint a in the form of LongVA-7B-DPO, with its tower's config."""
    checkpoint = copy_a(tmp_path, **DPO, **TRAINING)
    (tmp_path / "openai").rename(checkpoint / "openai")
    return checkpoint


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, dict[str, int]], Snapshot]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def fetch_from(folder: Path, sent: dict[str, int]) -> Snapshot:
        with serve_hub(folder, sent=sent) as endpoint:
            point_at(endpoint, monkeypatch)
            return fetch_snapshot("someone/longva")

    return fetch_from


Fetch = Callable[[Path, dict[str, int]], Snapshot]


def check_all(snapshot: Snapshot) -> None:
    assert_config_is_accepted(snapshot, context_length=32_768, tokens_per_frame=4)
    assert_weights_fit(snapshot)
    assert_tokenizer_gives(snapshot, golden_rows(), SPECIAL_TOKENS_OF_A)


def test_a_good_repository_passes_without_its_weights(repository: Path, fetch: Fetch) -> None:
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8), "model.vision_resampler.x": torch.ones(1)}
    rewrite(repository, tensors_of(repository) | extra | {"lm_head.weight": torch.zeros(640, 64)}, NUM_SHARDS)
    sent: dict[str, int] = {}
    check_all(fetch(repository, sent))
    sizes = {file.name: file.stat().st_size for file in repository.glob("*.safetensors")}
    fetched = {path.split("/")[-1]: count for path, count in sent.items() if path.endswith(".safetensors")}
    assert fetched.keys() == sizes.keys()
    assert all(count <= 110_000 for count in fetched.values())  # the first 100 kB, which hold the header
    assert any(count < sizes[name] for name, count in fetched.items())


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = tensors_of(folder)
    change(tensors)
    rewrite(folder, tensors)


def list_another_tensor(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.more"] = sorted(folder.glob("*.safetensors"))[0].name
    (folder / INDEX).write_text(json.dumps(index))


def swap_tokens(folder: Path) -> None:
    """Exchange the ids of two words of the first prompt."""
    for name in ("tokenizer.json", "vocab.json"):
        values = json.loads((folder / name).read_text("utf-8"))
        vocab = values["model"]["vocab"] if name == "tokenizer.json" else values
        first, second = (next(word for word, token in vocab.items() if token == wanted) for wanted in (307, 325))
        vocab[first], vocab[second] = vocab[second], vocab[first]
        (folder / name).write_text(json.dumps(values))


FAULTS: list[tuple[Change, type[Exception], str]] = [
    (lambda folder: change_config(folder, mm_projector_type="linear"), ModelError, "mm_projector_type = 'linear'"),
    (lambda folder: change_config(folder, mm_spatial_pool_stride=4), AssertionError, "1 == 4"),
    (lambda folder: change_config(folder, max_position_embeddings=4096), AssertionError, "4096 == 32768"),
    (
        lambda folder: change_tensors(folder, lambda tensors: tensors.pop("model.norm.weight")),
        AssertionError,
        "missing in the repository",
    ),
    (
        lambda folder: change_tensors(folder, lambda tensors: tensors.update({"model.more": torch.ones(1)})),
        AssertionError,
        "unknown to the model",
    ),
    (
        lambda folder: change_tensors(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(63)})),
        AssertionError,
        "shape in the model",
    ),
    (list_another_tensor, AssertionError, "model.more"),
    (swap_tokens, AssertionError, "helpful assistant"),
]


@pytest.mark.parametrize(("change", "error", "message"), FAULTS, ids=[message for *_, message in FAULTS])
def test_each_fault_is_found(
    change: Change, error: type[Exception], message: str, repository: Path, fetch: Fetch
) -> None:
    change(repository)
    with pytest.raises(error, match=message.replace("(", r"\(")):
        check_all(fetch(repository, {}))


@pytest.fixture(scope="module")
def published_shape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of LongVA-7B's true shape: 16 GB of weights as sparse files, of which only the headers exist.

    Its tokenizer has the ids of the published special tokens, but not the published words.
    """
    folder = tmp_path_factory.mktemp("published")
    config: Any = LongVAConfig(**DPO, tokenizer_model_max_length=32_768, max_position_embeddings=32_768)
    config.save_pretrained(folder)
    LongVAProcessor.from_config(load_script().byte_tokenizer(151_643), config).save_pretrained(folder)
    for file in folder.rglob("*preprocessor_config.json"):
        file.unlink()
        file.with_name("config.json").unlink()  # the published checkpoints have no files of their tower
    with torch.device("meta"):
        tensors = LongVAForConditionalGeneration(config).state_dict()
    write_sparse(folder, {name: list(tensor.shape) for name, tensor in tensors.items()})
    return folder


def write_sparse(folder: Path, shapes: dict[str, list[int]]) -> None:
    """Shards in bfloat16 that take no space on the disk, and their index."""
    weight_map: dict[str, str] = {}
    for number in range(NUM_SHARDS):
        shard = f"model-{number + 1:05}-of-{NUM_SHARDS:05}.safetensors"
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in sorted(shapes)[number::NUM_SHARDS]:
            start, end = end, end + 2 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [start, end]}
            weight_map[name] = shard
        text = json.dumps(header).encode()
        with (folder / shard).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_repository_of_the_published_shape(published_shape: Path, fetch: Fetch) -> None:
    assert sum(file.stat().st_size for file in published_shape.glob("*.safetensors")) > 15.8e9
    sent: dict[str, int] = {}
    snapshot = fetch(published_shape, sent)
    assert_config_is_accepted(snapshot, context_length=224_000, tokens_per_frame=144)
    assert_weights_fit(snapshot)
    assert sum(sent.values()) < 40e6
    with pytest.raises(AssertionError, match="system"):  # the first text
        assert_tokenizer_gives(snapshot, published_rows(), SPECIAL_TOKENS)


@pytest.mark.slow
def test_make_test_hub_asks_the_hub_about_the_three_checkpoints(published_shape: Path, tmp_path: Path) -> None:
    """The same file that `make test-hub` runs. Only the tokenizer's words differ from the published ones."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/model/published_hub.py"]
    sent: dict[str, int] = {}
    with serve_hub(published_shape, sent=sent) as endpoint:
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "3 failed, 6 passed" in result.stdout, result.stdout + result.stderr
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 3
    assert all("test_the_tokenizer_gives_the_published_ids[" in line for line in failed)
    for repo_id in ("lmms-lab/LongVA-7B/", "lmms-lab/LongVA-7B-DPO/", "ruili0/LongVA-7B-TPO/"):
        assert any(repo_id in path for path in sent)
