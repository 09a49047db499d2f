"""LoRA adapters: merged or kept, the result is that of the formula W + (alpha / rank) B A."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from longva_demo.chat import ChatSession, LocalEngine, ModelInfo, Sampling, VideoSource
from longva_demo.model import LoadedModel, LongVAForConditionalGeneration, load
from longva_demo.model.adapter import CONFIG, OTHER_WEIGHTS, WEIGHTS
from longva_demo.page.components.header import make_header
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.model.golden import COPY
from tests.model.test_loading import failure
from tests.model.test_published import fail_from_hub, outputs_of

A = COPY / "a" / "checkpoint"
RANK, ALPHA = 4, 8
LAYERS = [f"model.layers.{layer}.{name}" for layer in range(3) for name in ("self_attn.q_proj", "mlp.down_proj")]
PREFIX = "base_model.model."
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as peft saves it. Its targets are lists of names, which match the vision tower's layers as well."""
    folder = tmp_path_factory.mktemp("lora") / "adapter"
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LAYERS)
    model = LongVAForConditionalGeneration.from_pretrained(A)
    wrapped = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if ".lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1
    wrapped.save_pretrained(str(folder))
    change_config(folder, target_modules=["q_proj", "down_proj"], base_model_name_or_path=str(A))
    return folder


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """A copy of the adapter that tests may change."""
    shutil.copytree(saved, tmp_path / "my-adapter")
    return tmp_path / "my-adapter"


def change_config(folder: Path, **changes: object) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def low_rank_products(folder: Path) -> dict[str, torch.Tensor]:
    """(alpha / rank) B A of each layer, by the layer's name."""
    tensors = load_file(folder / WEIGHTS)
    assert len(tensors) == 2 * len(LAYERS)
    names = {layer: f"{PREFIX}{layer}" for layer in LAYERS}
    return {
        layer: ALPHA / RANK * tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
        for layer, name in names.items()
    }


def assert_close(ours: LoadedModel, theirs: LoadedModel) -> None:
    for left, right in zip(outputs_of(ours)[::2], outputs_of(theirs)[::2], strict=True):
        assert torch.allclose(left, right, atol=1e-4)


def test_an_adapter_is_merged_into_full_precision(saved: Path) -> None:
    ours, theirs = load(str(saved), device="cpu"), load(str(A), device="cpu")
    unchanged = outputs_of(theirs)
    for name, product in low_rank_products(saved).items():
        theirs.model.get_submodule(name).weight.data += product
    assert_close(ours, theirs)
    assert not torch.allclose(outputs_of(ours)[0], unchanged[0], atol=0.1)
    assert ours.adapter == "merged"
    assert ours.reason == f"Using {saved}, as requested. It is a LoRA adapter for {A}, merged into its weights."
    assert not [name for name, _ in ours.model.named_parameters() if "lora" in name]
    assert ours.model.state_dict().keys() == theirs.model.state_dict().keys()


def test_an_adapter_is_kept_beside_4_bit_weights(saved: Path) -> None:
    ours, theirs = load(str(saved), "4bit", device="cpu"), load(str(A), "4bit", device="cpu")
    for name, product in low_rank_products(saved).items():
        add_to_output(theirs.model.get_submodule(name), product)
    assert_close(ours, theirs)
    assert ours.adapter == "kept"
    assert ours.reason.endswith(f"It is a LoRA adapter for {A}, kept beside its 4-bit weights.")
    assert isinstance(ours.model, LongVAForConditionalGeneration)


def add_to_output(layer: nn.Module, product: torch.Tensor) -> None:
    layer.register_forward_hook(lambda _, inputs, output: output + inputs[0] @ product.T)


@pytest.mark.parametrize("quant", ["none", "4bit"])
def test_the_chat_and_its_attribution_use_the_adapter(quant: str, saved: Path, clip: Path) -> None:
    engine = LocalEngine(load(str(saved), quant, device="cpu"), Settings())
    session = ChatSession(engine)
    session.set_source(VideoSource(info := probe(clip), plan_frames(info, 4), engine.processor))
    list(session.ask("What happens?", Sampling(max_new_tokens=4)))
    assert session.turns[-1].stats.num_tokens > 4
    assert session.turns[-1].attribution is not None


def test_the_revision_depends_on_the_adapter(adapter: Path) -> None:
    before = load(str(adapter), device="cpu").revision
    assert before.startswith(load(str(A), device="cpu").revision)
    change_tensors(adapter, lambda tensors: tensors[f"{PREFIX}{LAYERS[0]}.lora_B.weight"].add_(1))
    assert load(str(adapter), device="cpu").revision != before


@pytest.mark.parametrize(("quant", "key"), [("none", "merged"), ("4bit", "kept")])
def test_the_page_says_how_it_was_applied(quant: str, key: str, saved: Path) -> None:
    value = make_header(ModelInfo.of(load(str(saved), quant, device="cpu")), "header").value
    assert (value["name"], value["adapter"]) == ("adapter", key)
    assert make_header(ModelInfo.of(load(str(A), device="cpu")), "header").value["adapter"] is None


def test_the_base_may_be_named_relative_to_the_adapter(adapter: Path) -> None:
    shutil.copytree(A.parent, adapter.parent / "a")
    change_config(adapter, base_model_name_or_path="../a/checkpoint")
    assert load(str(adapter), device="cpu").adapter == "merged"


def without_half(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(f"{PREFIX}{LAYERS[0]}.lora_B.weight"))


def with_an_unknown_layer(folder: Path) -> None:
    name = f"{PREFIX}model.layers.9.self_attn.q_proj.lora_A.weight"
    change_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(RANK, 64)}))


def of_another_width(folder: Path) -> None:
    name = f"{PREFIX}{LAYERS[0]}.lora_A.weight"
    change_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(RANK, 32)}))


def as_a_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def with_a_model(folder: Path) -> None:
    (folder / "model-00001-of-00002.safetensors").touch()


FAULTS: list[tuple[Change, str]] = [
    (without_half, f"has only one matrix of base_model.model.{LAYERS[0]}; save the adapter again"),
    (with_an_unknown_layer, f"layers.9.self_attn.q_proj.lora_A.weight, which {A} does not have; use its own"),
    (of_another_width, "cannot be loaded: "),
    (as_a_pickle, "stores its weights in adapter_model.bin, a pickle, which could run code; save it again with peft"),
    (with_a_model, "has both a model and an adapter; keep them in two folders"),
    (lambda folder: (folder / WEIGHTS).unlink(), "has no weights; save it again with peft, as adapter_model.safe"),
    (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 99), "is not a safetensors file; save the adapter again"),
    (lambda folder: save_file({}, folder / WEIGHTS), "is empty; save the adapter again with peft"),
    (lambda folder: (folder / OTHER_WEIGHTS).touch(), "has further trained weights in non_lora_trainables.bin"),
    (lambda folder: change_config(folder, peft_type="IA3"), "is an adapter of type 'IA3', not LORA; merge it"),
    (lambda folder: change_config(folder, base_model_name_or_path=None), "has base_model_name_or_path = None; set it"),
    (
        lambda folder: change_config(folder, base_model_name_or_path="/mnt/no/such"),
        "the model of the adapter, /mnt/no/such, does not exist here; set base_model_name_or_path in ",
    ),
    (lambda folder: (folder / CONFIG).write_text("{"), "adapter_config.json cannot be read ("),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_adapters_that_do_not_load(change: Change, message: str, adapter: Path) -> None:
    change(adapter)
    assert message in failure(adapter)


def test_an_adapter_on_the_hub_is_named_as_such(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "is a LoRA adapter, not a model; download its files, and use --model with their folder"
    assert not [path for path in fail_from_hub(adapter, tmp_path, monkeypatch, message) if "/resolve/" in path]


def test_an_adapter_without_peft(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longva_demo.model.adapter.importlib.util.find_spec", lambda _: None)
    assert failure(adapter) == f"{adapter} is a LoRA adapter, which requires peft; pip install peft"
