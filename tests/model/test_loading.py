"""`load`: folders, the Hub, and every failure, each reported in one line with a remedy."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers.utils import hub as transformers_hub

from longva_demo.errors import ModelError
from longva_demo.model import hub as hub_module
from longva_demo.model import load
from longva_demo.model.choice import LONGVA_7B, Choice
from longva_demo.model.hub import PROBE_SECONDS, can_reach, find_cached, revision_of
from longva_demo.model.loading import load_or_fall_back
from tests.model.golden import COPY
from tests.model.mini_hub import COMMIT, serve_hub

A = COPY / "a" / "checkpoint"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of checkpoint a that tests may damage."""
    shutil.copytree(A.parent, tmp_path / "a")
    return tmp_path / "a" / "checkpoint"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, with the Hub enabled."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the Hub's endpoint. huggingface_hub reads HF_ENDPOINT only once, at import.

    transformers shares one client, which keeps the endpoint of its first use: an earlier test's, or the real Hub.
    """
    monkeypatch.setattr(transformers_hub, "_hf_api", None)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_transformers_asks_the_endpoint_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier test may have used its client, which keeps its endpoint."""
    before = transformers_hub.hf_api()
    with monkeypatch.context() as patch:
        point_at("http://127.0.0.1:9", patch)
        assert transformers_hub.hf_api().endpoint == "http://127.0.0.1:9"
    assert transformers_hub.hf_api() is before


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def failure(model_id: str | Path, **options: str) -> str:
    """The one-line error of a failed load."""
    with pytest.raises(ModelError) as caught:
        load(str(model_id), **({"device": "cpu"} | options))
    line = str(caught.value)
    assert "\n" not in line
    assert "; " in line
    return line


def test_a_folder_loads() -> None:
    loaded = load(str(A), device="cpu")
    assert (loaded.model_id, loaded.quant, loaded.attention) == (str(A), "none", "sdpa")
    assert (loaded.device, loaded.dtype) == (torch.device("cpu"), torch.float32)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.reason == f"Using {A}, as requested."


def test_a_requested_dtype() -> None:
    loaded = load(str(A), dtype="bfloat16")
    assert {weight.dtype for weight in loaded.model.parameters()} == {loaded.dtype} == {torch.bfloat16}


def test_the_revision_of_a_folder_changes_with_its_weights(folder: Path) -> None:
    before = revision_of(folder)
    assert before == revision_of(A)
    file = folder / "model-00003-of-00003.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    assert revision_of(folder) != before


def test_a_hub_model_is_downloaded_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(A, tmp_path / "repository")
    shutil.copytree(A.parent / "openai", tmp_path / "repository" / "openai")
    with serve_hub(tmp_path / "repository") as endpoint:
        point_at(endpoint, monkeypatch)
        assert find_cached("someone/longva") is None
        first = load("someone/longva")
    assert (first.model_id, first.revision) == ("someone/longva", COMMIT)
    assert cache.is_dir()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load("someone/longva")
    assert again.revision == COMMIT
    assert torch.equal(again.model.lm_head.weight, first.model.lm_head.weight)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ((404, "RepoNotFound"), "the Hub has no model 'someone/longva' that you can access; check the name"),
        ((401, "RepoNotFound"), "the Hub has no model 'someone/longva' that you can access; check the name"),
        ((403, "GatedRepo"), "someone/longva is gated; accept its terms at "),
        ((503, ""), "is unreachable; go online and try again"),
    ],
)
def test_errors_of_the_hub(refuse: tuple[int, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub(None, refuse) as endpoint:
        point_at(endpoint, monkeypatch)
        assert message in failure("someone/longva")


@pytest.mark.usefixtures("cache")
def test_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub(A, file_size=10**15) as endpoint:
        point_at(endpoint, monkeypatch)
        assert "someone/longva needs 3000000.0 GB in " in failure("someone/longva")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("quant", ["none", "8bit", "auto"])
def test_a_model_larger_than_memory_is_not_downloaded(quant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files would fit on the disk, which is made out to be larger than it is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**16, 0, 10**16))
    sent: dict[str, int] = {}
    with serve_hub(A, file_size=10**13, sent=sent) as endpoint:
        point_at(endpoint, monkeypatch)
        line = failure("someone/longva", quant=quant)
    assert line.startswith(f"someone/longva needs {'30000.0' if quant == 'none' else '7925.1'} GB of memory, but only ")
    assert ("--quant 8bit" in line) == (quant == "none")
    assert not any(num_bytes for path, num_bytes in sent.items() if path.endswith(".safetensors"))


@pytest.mark.usefixtures("cache")
def test_the_cache_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with serve_hub(A) as endpoint:
        point_at(endpoint, monkeypatch)
        line = failure("someone/longva")
    assert line.startswith(f"cannot write someone/longva to {tmp_path / 'file' / 'cache'} (Not a directory)")
    assert line.endswith("set HF_HOME to a writable folder, or use --model tiny")


@pytest.mark.usefixtures("cache")
def test_the_hub_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(f"http://127.0.0.1:{closed_port()}", monkeypatch)
    assert "is not in the cache and http://127.0.0.1" in failure("someone/longva")
    assert not can_reach("someone/longva")


def test_the_hub_is_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run with HF_HUB_OFFLINE=1, see tests/conftest.py."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert failure("lmms-lab/LongVA-7B") == (
        "lmms-lab/LongVA-7B is not in the cache and the Hub is disabled (HF_HUB_OFFLINE); "
        "go online and try again, use a folder with its files, or use --model tiny"
    )
    assert not can_reach("lmms-lab/LongVA-7B")


@pytest.mark.usefixtures("cache")
def test_a_hub_that_never_responds_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        point_at(f"http://127.0.0.1:{listener.getsockname()[1]}", monkeypatch)
        start = time.monotonic()
        assert not can_reach("someone/longva")
        assert time.monotonic() - start < 2 * PROBE_SECONDS


@pytest.mark.usefixtures("cache")
def test_auto_falls_back_to_the_built_in_model(monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(f"http://127.0.0.1:{closed_port()}", monkeypatch)
    monkeypatch.setattr(hub_module, "TINY_FOLDER", A)
    chosen = Choice(LONGVA_7B, "none", "a reason")
    loaded = load_or_fall_back(chosen, torch.device("cpu"), torch.float32, "sdpa")
    assert loaded.model_id == "tiny"
    assert f"{LONGVA_7B} could not be loaded ({LONGVA_7B} is not in the cache" in loaded.reason


@pytest.mark.usefixtures("cache")
def test_auto_on_the_cpu_does_not_use_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any request to this endpoint would hang until its timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        point_at(f"http://127.0.0.1:{listener.getsockname()[1]}", monkeypatch)
        monkeypatch.setattr(hub_module, "TINY_FOLDER", A)
        loaded = load("auto", quant="auto", device="cpu")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert loaded.model_id == "tiny"
    assert "no CUDA GPU is in use" in loaded.reason
    assert "--model" in loaded.reason
    assert "LongVA-7B runs on the processor in 8 bits and needs 9.3 GB of memory" in loaded.reason


def test_invalid_model_names(tmp_path: Path) -> None:
    assert failure("./nowhere").startswith("there is no folder './nowhere'; use a folder, a Hub name such as")
    assert failure("a/b/c").startswith("there is no folder 'a/b/c'")
    assert failure("a b/c") == "'a b/c' is not a valid model name; use owner/name"
    assert failure(tmp_path).endswith("has no config.json; use the folder that contains the model's files")


def test_a_shard_is_missing(folder: Path) -> None:
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "is missing model-00002-of-00003.safetensors; download the model again" in failure(folder)


@pytest.mark.parametrize("change", [lambda data: data[:-1000], lambda data: data + b"more", lambda data: data[:100]])
def test_a_shard_has_the_wrong_size(folder: Path, change: Callable[[bytes], bytes]) -> None:
    file = folder / "model-00002-of-00003.safetensors"
    file.write_bytes(change(file.read_bytes()))
    line = failure(folder)
    assert line.startswith(f"{file} ")
    assert "bytes, but its header says" in line or "is not a safetensors file" in line
    assert line.endswith("; delete it and download the model again")


def test_an_index_without_weights(folder: Path) -> None:
    for text in ("{}", '{"weight_map": [1]}'):
        (folder / "model.safetensors.index.json").write_text(text)
        assert "lists no weights; download the model again" in failure(folder)


def test_a_tensor_is_missing(folder: Path) -> None:
    file = folder / "model-00003-of-00003.safetensors"
    tensors = load_file(file)
    del tensors["lm_head.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    assert "have no lm_head.weight; download the model again" in failure(folder)


def test_a_tensor_has_the_wrong_shape(folder: Path) -> None:
    change_config(folder, hidden_size=128)
    line = failure(folder)
    assert line.startswith(
        f"the weights in {folder} do not match: lm_head.weight is 640 × 64, but config.json says 640 × "
    )
    assert line.endswith("more; use config.json and weights of the same model")


def test_the_config_is_corrupt(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read (" in failure(folder)


@pytest.mark.parametrize("vision", [{"image_size": 56, "patch_size": 0}, {"image_size": None, "patch_size": 14}])
def test_the_towers_config_is_corrupt(folder: Path, vision: dict) -> None:
    """The error is one line, whatever transformers raises."""
    change_config(folder, vision_config=vision)
    assert "cannot be loaded: " in failure(folder)


def test_a_model_of_another_type(folder: Path) -> None:
    change_config(folder, model_type="llama")
    assert "is a model of type 'llama', not LongVA (llava_qwen); use lmms-lab/LongVA-7B-DPO" in failure(folder)


def test_an_unsupported_longva(folder: Path) -> None:
    change_config(folder, mm_projector_type="linear")
    assert "config.json has mm_projector_type = 'linear'" in failure(folder)


def test_the_tokenizer_is_missing(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink()
    assert "has no tokenizer.json or vocab.json" in failure(folder)


def test_weights_larger_than_memory(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        with file.open("r+b") as stream:
            stream.truncate(10**13)  # a sparse file takes no disk space
    line = failure(folder)
    assert "needs 30000.0 GB of memory, but only " in line
    assert line.endswith("close other programs, or use --quant 8bit, another --device or --model tiny")


def test_options_that_this_machine_does_not_support() -> None:
    line = "CUDA device 'cuda:99' is not available; use --device cpu, or a PyTorch built for CUDA"
    assert failure(A, device="cuda:99") == line
    assert "requires the package flash-attn" in failure(A, attention="flash_attention_2")


def test_invalid_options() -> None:
    assert failure(A, device="tpu9").startswith("'tpu9' is not a valid device; use auto, cpu")
    assert failure(A, dtype="int8").startswith("'int8' is not a valid dtype; use one of auto, float32")
    assert failure(A, quant="3bit") == "'3bit' is not a valid quant; use one of auto, none, 8bit, 4bit"
    assert failure(A, attention="magic").startswith("'magic' is not a valid attention; use one of")


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
