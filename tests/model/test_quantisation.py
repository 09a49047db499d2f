"""4-bit loading: which layers are quantised, and that a quantised model can be saved and loaded."""

from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

from longva_demo.model import LoadedModel, load
from tests.model.golden import COPY, load_processor

A = COPY / "a" / "checkpoint"
PROMPT = "<|im_start|>user\n<image>\nHi<|im_end|>\n<|im_start|>assistant\n"
NOT_QUANTISED = ("model.vision_tower.", "model.mm_projector.", "lm_head")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(str(A), quant="4bit", device="cpu")


def linear_layers(loaded: LoadedModel) -> dict[str, nn.Linear]:
    return {name: layer for name, layer in loaded.model.named_modules() if isinstance(layer, nn.Linear)}


def logits(loaded: LoadedModel) -> torch.Tensor:
    frames = torch.arange(2 * 20 * 30 * 3).reshape(2, 20, 30, 3).to(torch.uint8).numpy()
    with torch.no_grad():
        return loaded.model(**load_processor(A)(text=PROMPT, videos=[frames])).logits


def test_only_the_language_models_layers_are_quantised(loaded: LoadedModel) -> None:
    kinds = {name: type(layer) for name, layer in linear_layers(loaded).items()}
    assert len(kinds) == 3 * 7 + 3 * 6 + 2 + 1  # Qwen2's layers, CLIP's, the projector, lm_head
    for name, kind in kinds.items():
        assert kind is (nn.Linear if name.startswith(NOT_QUANTISED) else Linear4bit), name


def test_nf4_with_double_quantisation(loaded: LoadedModel) -> None:
    layer = loaded.model.model.layers[0].mlp.up_proj
    assert layer.weight.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    assert layer.compute_dtype == loaded.dtype
    assert loaded.quant == "4bit"


def test_logits_are_close_to_full_precision(loaded: LoadedModel) -> None:
    ours, full = logits(loaded), logits(load(str(A), device="cpu"))
    similarity = torch.cosine_similarity(ours, full, dim=-1)
    assert similarity.mean() > 0.9
    assert not torch.equal(ours, full)


def test_saving_and_loading(loaded: LoadedModel, tmp_path: Path) -> None:
    loaded.model.save_pretrained(tmp_path)
    loaded.processor.save_pretrained(tmp_path)
    again = load(str(tmp_path), device="cpu")
    assert again.quant == "4bit"
    kinds = {name: type(layer) for name, layer in linear_layers(loaded).items()}
    assert {name: type(layer) for name, layer in linear_layers(again).items()} == kinds
    assert torch.equal(logits(again), logits(loaded))
