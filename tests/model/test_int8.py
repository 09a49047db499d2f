"""8-bit weights on the CPU: the kernels, what is quantised, the quality, saving and loading."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from longva_demo.errors import ModelError
from longva_demo.model import LoadedModel, LongVAForConditionalGeneration, LongVAModel, int8, load
from longva_demo.model.int8 import (
    ALIGNMENT,
    BLOCK_TOKENS,
    MAX_PACKED_TOKENS,
    MAX_PACKED_TOKENS_BESIDE_INTEGERS,
    METHOD,
    CastEmbedding,
    Int8Config,
    Int8Linear,
    Kernels,
    probe_kernels,
    quantise,
)
from longva_demo.tiny.clips import haystack
from longva_demo.tiny.draw import draw
from tests.model.golden import CHECKPOINTS, COPY, Case, cases, load_model, load_processor

A = COPY / "a" / "checkpoint"
# Of the logits of all golden cases: rms error relative to their rms, and share of positions with the same best token.
MAX_RMS_ERROR, MIN_SAME_ARGMAX = 0.025, 0.97
WITH_INTEGERS = Kernels(MAX_PACKED_TOKENS_BESIDE_INTEGERS, has_integers=True)
WITHOUT_INTEGERS = Kernels(MAX_PACKED_TOKENS, has_integers=False)


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
    return x.double() @ (layer.weight.double() * layer.scale.double()[:, None]).T + layer.bias


def error(layer: Int8Linear, x: torch.Tensor) -> float:
    """Rms error of the product relative to its rms."""
    wanted = exact(layer, x)
    return float((layer(x).double() - wanted).norm() / wanted.norm())


def use(monkeypatch: pytest.MonkeyPatch, kernels: Kernels) -> None:
    """These kernels, whatever this machine has: products of integers are computed here by a plain matrix product."""
    monkeypatch.setattr(int8, "probe_kernels", lambda: kernels)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.double() @ b.double()).to(torch.int32))


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
    use(monkeypatch, WITHOUT_INTEGERS)
    monkeypatch.setattr(int8, "BLOCK_ROWS", block_rows)
    x = torch.randn(2, 40, 96)
    assert layer(x).shape == (2, 40, 200)
    torch.testing.assert_close(layer(x).double(), exact(layer, x), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kernels", [WITH_INTEGERS, WITHOUT_INTEGERS])
def test_few_tokens_use_the_packed_kernel(layer: Int8Linear, kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes bfloat16, which rounds to 8 bits."""
    use(monkeypatch, kernels)
    for num_tokens in (1, kernels.max_packed_tokens):
        x = torch.randn(num_tokens, 96)
        assert torch.equal(layer(x), layer.multiply_packed(x) + layer.bias)
        assert not torch.equal(layer(x), layer.multiply_blocks(x) + layer.bias)
        assert error(layer, x) < 2**-7
    x = torch.randn(kernels.max_packed_tokens + 1, 96)
    multiply = layer.multiply_integers if kernels.has_integers else layer.multiply_blocks
    assert torch.equal(layer(x), multiply(x) + layer.bias)


@pytest.mark.parametrize("block_rows", [int8.BLOCK_ROWS, 7])
@pytest.mark.parametrize("num_tokens", [5, BLOCK_TOKENS, 2 * BLOCK_TOKENS + 1])
def test_integers_give_the_product_to_16_bits(
    layer: Int8Linear, num_tokens: int, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, WITH_INTEGERS)
    monkeypatch.setattr(int8, "BLOCK_ROWS", block_rows)
    x = torch.randn(1, num_tokens, 96) * torch.logspace(-6, 6, num_tokens)[:, None]  # each token has its own scale
    x[0, 2] = 0
    assert layer(x).shape == (1, num_tokens, 200)
    largest = x.double().abs().amax(-1, keepdim=True)
    bound = largest / 64_000 * layer.weight.double().abs().sum(1) * layer.scale
    assert ((layer(x).double() - exact(layer, x)).abs() <= bound + 1e-6 * exact(layer, x).abs()).all()
    assert error(layer, torch.randn(num_tokens, 96)) < 2**-13


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_outliers_of_qwen2_leave_the_other_channels_readable(
    layer: Int8Linear, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few channels of Qwen2's activations are up to some 10,000 times as large as the others. What the others add is
    still computed better than in bfloat16."""
    use(monkeypatch, WITH_INTEGERS)
    x = torch.randn(40, 96)
    x[::3, 5] = size
    ours = (layer(x).double() - exact(layer, x)).norm()
    half = (layer.multiply_packed(x).double() + layer.bias - exact(layer, x)).norm()
    assert error(layer, x) < 1e-4
    assert ours < half / 10


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_not_hidden(
    layer: Int8Linear, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, WITH_INTEGERS)
    x = torch.randn(8, 96)
    x[3, 4] = value
    assert not layer(x)[3].isfinite().any()
    assert layer(x)[[0, 1, 2, 4]].isfinite().all()


def test_integers_are_used_only_where_their_products_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest values would overflow the int16 sums of processors without VNNI."""
    if probe_kernels().has_integers:
        largest = torch.full((16, 3584), 127, dtype=torch.int8)
        assert (torch._int_mm(largest, largest.T) == 127 * 127 * 3584).all()
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: product(a, b).clamp(max=2**15))
    probe_kernels.cache_clear()
    assert not probe_kernels().has_integers
    probe_kernels.cache_clear()


@pytest.mark.parametrize("kernels", [WITH_INTEGERS, WITHOUT_INTEGERS])
def test_a_bfloat16_model_multiplies_in_bfloat16(
    layer: Int8Linear, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, kernels)
    x = torch.randn(64, 96).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    assert 0 < error(layer, x) < 2**-7


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


@pytest.mark.parametrize("kernels", [WITH_INTEGERS, WITHOUT_INTEGERS])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: f"{path.parents[1].name}-{path.parent.name}")
def test_logits_are_those_of_full_precision(
    checkpoint: Path, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, kernels)
    in_full = load_model(checkpoint)  # shared by tests, some of which need gradients: not loaded in inference mode
    model = LongVAForConditionalGeneration.from_pretrained(checkpoint, quantization_config=Int8Config("float32"))
    error = total = 0.0
    same: list[torch.Tensor] = []
    golden = [case for case in cases() if case.checkpoint == checkpoint]
    prompt = next(case.record["prompt"] for case in golden if case.record["modalities"] == ["video"])
    for inputs in [*(case.inputs for case in golden), *drawn_clips(checkpoint, prompt)]:
        with torch.inference_mode():
            full, ours = in_full(**inputs).logits, model(**inputs).logits
        error += (full - ours).square().sum().item()
        total += full.square().sum().item()
        same.append((full.argmax(-1) == ours.argmax(-1)).flatten())
    assert (error / total) ** 0.5 <= MAX_RMS_ERROR
    assert torch.cat(same).float().mean() >= MIN_SAME_ARGMAX


def drawn_clips(checkpoint: Path, prompt: str) -> Iterator[dict[str, torch.Tensor]]:
    """More inputs, since a single position of the few hundred of the golden cases would decide."""
    rng = random.Random(0)
    for _ in range(40):
        frames = np.stack([draw(scene) for scene in haystack(rng, 12)])
        yield dict(load_processor(checkpoint)(text=prompt, videos=[frames]))


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
