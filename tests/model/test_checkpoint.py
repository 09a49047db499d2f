"""Reading and writing the published on-disk format: tensor names, config.json, the vision tower's files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    Qwen2ForCausalLM,
)

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAModel, LongVAProcessor
from longva_demo.model.attention import NAME
from tests.model.golden import CHECKPOINTS, COPY, load_model, load_processor

A = COPY / "a" / "checkpoint"
CHATML = "<|im_start|>user\n<image>\nHi<|im_end|>\n"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def read_json(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(params=["sharded", "single"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Checkpoint a, loaded and saved again."""
    shard_size = "300KB" if request.param == "sharded" else "1GB"
    load_model(A).save_pretrained(tmp_path, max_shard_size=shard_size)
    load_processor(A).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file() == (request.param == "single")
    return tmp_path


def test_saving_keeps_tensors_and_names(saved: Path) -> None:
    ours, theirs = tensors_of(saved), tensors_of(A)
    assert ours.keys() == theirs.keys() == load_model(A).state_dict().keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for file in saved.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:  # the original's transformers requires this metadata
            assert opened.metadata() == {"format": "pt"}


def test_a_saved_config_is_flat_and_equals_the_original(saved: Path) -> None:
    """A vision tower that is not the published one, and the placeholder's id, are added."""
    ours, theirs = read_json(saved / "config.json"), read_json(A / "config.json")
    assert ours.pop("vision_config")["image_size"] == 56
    assert ours.pop("image_token_id") == 600
    assert ours.pop("pad_token_id") is None
    assert ours.pop("transformers_version") != theirs.pop("transformers_version")
    assert ours.pop("architectures") == theirs.pop("architectures") == ["LlavaQwenForCausalLM"]
    assert ours == theirs


def test_a_saved_checkpoint_is_self_contained(saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path.parent)
    model = LongVAForConditionalGeneration.from_pretrained(saved)
    processor = LongVAProcessor.from_pretrained(saved)
    inputs = processor(text=CHATML, videos=[torch.zeros(2, 20, 30, 3, dtype=torch.uint8).numpy()])
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, load_model(A)(**inputs).logits)
    assert (model.generation_config.repetition_penalty, model.generation_config.top_k) == (1.05, 20)


def test_tokenizer_files_are_also_saved_in_the_old_format(saved: Path) -> None:
    for name in ("vocab.json", "added_tokens.json"):
        assert read_json(saved / name) == read_json(A / name)
    assert (saved / "merges.txt").read_text() == (A / "merges.txt").read_text()
    assert all(isinstance(pair, str) for pair in read_json(saved / "tokenizer.json")["model"]["merges"])
    ours, theirs = read_json(saved / "tokenizer_config.json"), read_json(A / "tokenizer_config.json")
    assert {name: ours.get(name) for name in theirs} == theirs
    assert AutoTokenizer.from_pretrained(saved)(CHATML)["input_ids"] == load_processor(A).encode_text(CHATML, True)


def test_a_newly_built_model_is_saved_under_the_same_names(tmp_path: Path) -> None:
    """transformers renames CLIP's tensors on loading and saving; a newly trained model must be renamed too."""
    config = LongVAConfig.from_pretrained(A, tie_word_embeddings=True)
    LongVAForConditionalGeneration(config).save_pretrained(tmp_path)
    assert tensors_of(tmp_path).keys() == tensors_of(A).keys() - {"lm_head.weight"}
    again = LongVAForConditionalGeneration.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_the_auto_classes_load_longva(checkpoint: Path) -> None:
    assert type(AutoConfig.from_pretrained(checkpoint)) is LongVAConfig
    assert type(AutoProcessor.from_pretrained(checkpoint)) is LongVAProcessor
    loaded: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, output_loading_info=True)
    model, info = loaded
    assert type(model) is LongVAForConditionalGeneration
    assert isinstance(model, Qwen2ForCausalLM)
    assert isinstance(model.model.vision_tower.vision_tower.vision_model, CLIPVisionModel)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    body = AutoModel.from_pretrained(checkpoint)
    assert type(body) is LongVAModel
    assert torch.equal(body.layers[-1].mlp.up_proj.weight, model.model.layers[-1].mlp.up_proj.weight)
    assert body.config._attn_implementation == model.config._attn_implementation == NAME


def test_lookup_order_of_the_towers_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "checkpoint"
    folder.mkdir(parents=True)
    shutil.copy(A / "config.json", folder)
    monkeypatch.chdir(tmp_path)
    name = "openai/clip-vit-large-patch14-336"

    def put(root: Path, image_size: int) -> None:
        (root / name).mkdir(parents=True)
        values = {"vision_config": {"image_size": image_size, "patch_size": 14}}
        (root / name / "config.json").write_text(json.dumps(values))

    def found() -> int:
        return LongVAConfig.from_pretrained(folder).vision_config.image_size

    assert found() == 336  # the built-in shape of the published tower
    put(tmp_path, 28)
    assert found() == 28  # the current directory
    put(tmp_path / "deep", 42)
    assert found() == 42  # beside the checkpoint
    put(folder, 56)
    assert found() == 56  # inside the checkpoint


def test_a_tower_named_by_an_absolute_path_is_saved_inside_the_checkpoint(tmp_path: Path) -> None:
    tower = tmp_path / "elsewhere" / "tower"
    tower.mkdir(parents=True)
    shutil.copy(COPY / "a/openai/clip-vit-large-patch14-336/config.json", tower)
    config = LongVAConfig(mm_vision_tower=str(tower))
    assert config.vision_config.image_size == 56
    config.save_pretrained(tmp_path / "saved")
    assert sorted(file.name for file in (tmp_path / "saved" / "tower").iterdir()) == [
        "config.json",
        "preprocessor_config.json",
    ]


def test_derived_values_of_the_7b() -> None:
    config = LongVAConfig()
    assert config.tokens_per_frame == config.tokens_per_grid == 144
    assert config.kv_bytes_per_token(torch.bfloat16) == 57_344
    assert config.context_length == 224_000
    assert config.context_length // config.tokens_per_frame == 1_555
    assert config.vision_config.num_hidden_layers == 24
    assert LongVAConfig.from_dict({"rope_theta": 1e6}).context_length == config.max_position_embeddings == 32_768


def test_pinpoints_can_be_a_string() -> None:
    assert LongVAConfig(image_grid_pinpoints="[(336, 672), (672, 336)]").grid_pinpoints == [(336, 672), (672, 336)]


@pytest.mark.parametrize("name", ["mm_projector_type", "mm_patch_merge_type", "mm_spatial_pool_mode"])
def test_unsupported_values_do_not_load(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = 'other'"):
        LongVAConfig.from_dict({name: "other"})


def test_padding_rows_of_the_vocabulary_are_never_predicted() -> None:
    """Checkpoint a has 640 rows for 600 tokens. Scaling up the other 40 does not change the answer."""
    model = LongVAForConditionalGeneration.from_pretrained(A)
    inputs = load_processor(A)(text="a dog")
    before = model.generate(**inputs, do_sample=False, max_new_tokens=8)
    with torch.no_grad():
        model.lm_head.weight[600:] = 100 * model.lm_head.weight[:40]
        hidden = model.model(inputs["input_ids"]).last_hidden_state
        assert int(model.lm_head(hidden)[0, -1].argmax()) >= 600  # without the cut, a padding row would win
    assert model(**inputs).logits.shape[-1] == model.num_tokens == 600
    assert torch.equal(model.generate(**inputs, do_sample=False, max_new_tokens=8), before)
