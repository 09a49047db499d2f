"""The script that writes a random LongVA-7B: published names, shapes and number of parameters."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from longva_demo.model import LongVAConfig, load
from tests.model.golden import COPY, ROOT

INDEX = COPY / "a" / "checkpoint" / "model.safetensors.index.json"
# Published parameter counts: Qwen2-7B, CLIP ViT-L/14 at 336 px (vision model), and the projector's two linear layers.
QWEN2_7B, CLIP_L_336, PROJECTOR = 7_615_616_512, 303_507_456, (1024 + 1) * 3584 + (3584 + 1) * 3584
SHAPES_7B = {
    "model.embed_tokens.weight": [152064, 3584],
    "model.layers.27.self_attn.q_proj.weight": [3584, 3584],
    "model.layers.27.self_attn.k_proj.weight": [512, 3584],
    "model.layers.27.self_attn.v_proj.bias": [512],
    "model.layers.27.mlp.gate_proj.weight": [18944, 3584],
    "model.layers.27.mlp.down_proj.weight": [3584, 18944],
    "model.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight": [1024, 3, 14, 14],
    "model.vision_tower.vision_tower.vision_model.embeddings.position_embedding.weight": [577, 1024],
    "model.vision_tower.vision_tower.vision_model.encoder.layers.23.mlp.fc1.weight": [4096, 1024],
    "model.vision_tower.vision_tower.vision_model.pre_layrnorm.weight": [1024],
    "model.mm_projector.0.weight": [3584, 1024],
    "model.mm_projector.2.weight": [3584, 3584],
    "lm_head.weight": [152064, 3584],
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script()


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_random", ROOT / "scripts" / "make_random_checkpoint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_names(language_layers: int, vision_layers: int) -> set[str]:
    """The tensor names of a checkpoint in the original format with that many layers, from those of checkpoint a."""
    names: set[str] = set()
    for name in json.loads(INDEX.read_text(encoding="utf-8"))["weight_map"]:
        count = vision_layers if "vision_model" in name else language_layers
        if re.search(r"layers\.0\.", name):
            names.update(name.replace("layers.0.", f"layers.{layer}.") for layer in range(count))
        elif not re.search(r"layers\.\d+\.", name):
            names.add(name)
    return names


def test_meta_lists_the_7b(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--meta"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    shapes = {name: json.loads(shape) for name, shape in (line.split(" ", 1) for line in lines)}
    assert shapes.keys() == published_names(language_layers=28, vision_layers=24)
    assert {name: shapes[name] for name in SHAPES_7B} == SHAPES_7B
    count = QWEN2_7B + CLIP_L_336 + PROJECTOR
    assert total == f"{len(shapes)} tensors, {count:,} parameters, 15.9 GB in bfloat16"


def test_a_small_checkpoint_loads_and_answers(script: ModuleType, tmp_path: Path) -> None:
    config = LongVAConfig(
        vocab_size=640,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=600,
        eos_token_id=602,
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 56, "patch_size": 14,
        },
    )  # fmt: skip
    folder = tmp_path / "random"
    script.make_checkpoint(config, folder, num_words=600, shard_bytes=50_000)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    loaded = load(str(folder), device="cpu")
    assert len(loaded.processor.tokenizer) == loaded.model.num_tokens == 603
    assert loaded.processor.tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]) == [600, 602]
    inputs = loaded.processor(text="<image>Hi<|im_end|>", videos=[torch.zeros(1, 9, 9, 3, dtype=torch.uint8).numpy()])
    output = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=3)
    assert output.shape[1] > inputs["input_ids"].shape[1]
    assert loaded.model.model.norm.weight.unique().tolist() == [1.0]


def test_an_existing_folder_is_not_overwritten(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main([str(tmp_path)])
    assert "does not exist yet" in capsys.readouterr().err
