"""8-bit weights on the CPU: the kernels, what is quantised, the quality, saving and loading."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from longva_demo.errors import ModelError
from longva_demo.model import LoadedModel, LongVAForConditionalGeneration, LongVAModel, int8, load
from longva_demo.model.int8 import ALIGNMENT, METHOD, CastEmbedding, Int8Config, Int8Linear, quantise
from tests.model.golden import CHECKPOINTS, COPY, Case, cases, load_model

A = COPY / "a" / "checkpoint"
# Of the logits of all golden cases: rms error relative to their rms, and share of positions with the same best token.
MAX_RMS_ERROR, MIN_SAME_ARGMAX = 0.025, 0.97


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(str(A), quant="8bit", device="cpu")


@pytest.fixture(scope="module")
def saved(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def layer() -> Int8Linear:
    torch.manual_seed(0)
    layer = Int8Linear(96, 200, bias=True)
    weight, scale = quantise(torch.randn(200, 96))
    layer.weight.copy_(weight)
    layer.scale.copy_(scale)
    assert layer.bias is not None
    layer.bias.normal_()
    return layer


def exact(layer: Int8Linear, x: torch.Tensor) -> torch.Tensor:
    return x @ (layer.weight.double() * layer.scale.double()[:, None]).T + layer.bias


def logits(model: LongVAForConditionalGeneration, case: Case) -> torch.Tensor:
    with torch.inference_mode():
        return model(**case.inputs).logits


# The kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_rounded_to_the_nearest_value(dtype: torch.dtype) -> None:
    weight = torch.randn(70, 50).to(dtype)
    weight[3] = 0
    before = weight.clone()
    quantised, scale = quantise(weight)
    assert torch.equal(weight, before), "the checkpoint's own tensor, mapped from its file, is not written to"
    assert quantised.abs().amax(1).tolist() == [127 if row != 3 else 0 for row in range(70)]
    assert ((quantised * scale[:, None] - weight.float()).abs() <= 0.5001 * scale[:, None]).all()


@pytest.mark.parametrize("block_rows", [int8.BLOCK_ROWS, 7, 1])
def test_blocks_give_the_exact_product(layer: Int8Linear, block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "BLOCK_ROWS", block_rows)
    x = torch.randn(2, 40, 96)
    assert layer(x).shape == (2, 40, 200)
    torch.testing.assert_close(layer(x).double(), exact(layer, x.double()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("num_tokens", [1, int8.MAX_PACKED_TOKENS])
def test_few_tokens_use_the_packed_kernel(layer: Int8Linear, num_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes bfloat16, which rounds to 8 bits."""
    monkeypatch.setattr(int8, "max_packed_tokens", lambda: int8.MAX_PACKED_TOKENS)
    x = torch.randn(num_tokens, 96)
    assert torch.equal(layer(x), layer.multiply_packed(x) + layer.bias)
    assert not torch.equal(layer(x), layer.multiply_blocks(x) + layer.bias)
    error = (layer(x).double() - exact(layer, x.double())).norm() / exact(layer, x.double()).norm()
    assert error < 2**-7


def test_a_bfloat16_model_multiplies_in_bfloat16(layer: Int8Linear) -> None:
    x = torch.randn(64, 96).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    error = (layer(x).double() - exact(layer, x.double())).norm() / exact(layer, x.double()).norm()
    assert 0 < error < 2**-7


# What is quantised


def test_only_the_language_model_is_quantised(loaded: LoadedModel) -> None:
    kinds = {
        name: type(module)
        for name, module in loaded.model.named_modules()
        if isinstance(module, nn.Linear | Int8Linear | nn.Embedding)
    }
    for name, kind in kinds.items():
        if "vision_tower" in name or "mm_projector" in name:
            assert kind in (nn.Linear, nn.Embedding), name
        else:
            assert kind is (CastEmbedding if name == "model.embed_tokens" else Int8Linear), name
    assert sum(kind is Int8Linear for kind in kinds.values()) == 3 * 7 + 1
    assert {weight.dtype for weight in loaded.model.model.vision_tower.parameters()} == {torch.float32}
    assert (loaded.quant, loaded.dtype, loaded.estimate) == ("8bit", torch.float32, None)


def test_the_embedding_keeps_the_checkpoints_dtype(loaded: LoadedModel, tmp_path: Path) -> None:
    assert loaded.model.model.embed_tokens.weight.dtype == torch.float32  # as in this checkpoint
    shutil.copytree(A.parent, tmp_path / "a")
    folder = tmp_path / "a" / "checkpoint"
    for file in folder.glob("*.safetensors"):
        save_file({name: one.bfloat16() for name, one in load_file(file).items()}, file, metadata={"format": "pt"})
    change_config(folder, torch_dtype="bfloat16")
    half = load(str(folder), quant="8bit", device="cpu").model.model.embed_tokens
    assert half.weight.dtype == torch.bfloat16
    assert half(torch.tensor([1])).dtype == torch.float32


def test_a_tied_lm_head_is_not_quantised() -> None:
    model = load("tiny", quant="8bit", device="cpu").model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert isinstance(model.model.layers[0].mlp.up_proj, Int8Linear)


# Quality


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: f"{path.parents[1].name}-{path.parent.name}")
def test_logits_are_those_of_full_precision(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        int8, "max_packed_tokens", lambda: int8.MAX_PACKED_TOKENS
    )  # whatever else this machine does now
    model = LongVAForConditionalGeneration.from_pretrained(checkpoint, quantization_config=Int8Config("float32"))
    error = total = 0.0
    same: list[torch.Tensor] = []
    for case in cases():
        if case.checkpoint == checkpoint:
            full, ours = logits(load_model(checkpoint), case), logits(model, case)
            error += (full - ours).square().sum().item()
            total += full.square().sum().item()
            same.append((full.argmax(-1) == ours.argmax(-1)).flatten())
    assert (error / total) ** 0.5 <= MAX_RMS_ERROR
    assert torch.cat(same).float().mean() >= MIN_SAME_ARGMAX


# Saving, loading, and what can be wrong


def test_saving_and_loading(loaded: LoadedModel, saved: Path) -> None:
    assert json.loads((saved / "config.json").read_text())["quantization_config"]["quant_method"] == METHOD
    again = load(str(saved), device="cpu")
    assert again.quant == "8bit"
    before, after = loaded.model.state_dict(), again.model.state_dict()
    assert {name: tensor.dtype for name, tensor in after.items()} == {name: one.dtype for name, one in before.items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    layers = [module for module in again.model.modules() if isinstance(module, Int8Linear)]
    assert layers
    assert {layer.weight.data_ptr() % ALIGNMENT for layer in layers} == {0}
    case = next(case for case in cases() if case.checkpoint == A)
    assert torch.equal(logits(again.model, case), logits(loaded.model, case))


def test_the_base_model_loads_from_the_same_folder(loaded: LoadedModel, saved: Path) -> None:
    base = LongVAModel.from_pretrained(saved)
    weight = base.layers[0].self_attn.q_proj.weight
    assert torch.equal(weight, loaded.model.model.layers[0].self_attn.q_proj.weight)


def test_a_saved_scale_is_missing(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    tensors = load_file(file)
    del tensors["lm_head.scale"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"have no lm_head\.scale; download the model again"):
        load(str(tmp_path / "copy"), device="cpu")


def test_a_tensor_has_the_wrong_shape(tmp_path: Path) -> None:
    shutil.copytree(A.parent, tmp_path / "a")
    folder = tmp_path / "a" / "checkpoint"
    change_config(folder, intermediate_size=96)
    wrong = r"do not match: model.layers.0.mlp.down_proj.weight is 64 × \d+, but config.json says 64 × 96, and \d+ more"
    with pytest.raises(ModelError, match=wrong):
        load(str(folder), quant="8bit", device="cpu")


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
