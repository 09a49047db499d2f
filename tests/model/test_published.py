"""The on-disk variants of the published checkpoints and their derivatives, each built here as a tiny checkpoint.

Each variant loads and gives the same output as the plain checkpoint, or is rejected with a one-line error.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from longva_demo.errors import ModelError
from longva_demo.model import LoadedModel, load
from longva_demo.model.tower import CLIP_NAME
from tests.model.golden import COPY
from tests.model.mini_hub import serve_hub
from tests.model.test_loading import closed_port, point_at

A = COPY / "a" / "checkpoint"
TOWER = "model.vision_tower.vision_tower.vision_model."
# Fields that the training script of LongVA-7B-DPO writes into config.json.
DPO: dict[str, Any] = {
    "mm_resampler_type": "spatial_pool",
    "mm_spatial_pool_stride": 2,
    "mm_spatial_pool_mode": "average",
    "mm_spatial_pool_out_channels": 1024,
}
DPO_PINPOINTS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
TRAINING = {
    "_name_or_path": "/mnt/disk/checkpoints/longva",
    "tune_mm_mlp_adapter": False,
    "freeze_mm_mlp_adapter": False,
    "freeze_mm_vision_resampler": False,
    "mm_projector_lr": None,
    "mm_vision_tower_lr": 2e-6,
    "use_pos_skipping": False,
    "image_crop_resolution": 224,
    "use_cache": False,
}


def copy_a(folder: Path, **changes: object) -> Path:
    """Copy checkpoint a with its tower's files beside it, and change its config.json."""
    shutil.copytree(A.parent / "openai", folder / "openai")
    shutil.copytree(A, folder / "checkpoint")
    file = folder / "checkpoint" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder / "checkpoint"


def tensors_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in sorted(checkpoint.glob("*.safetensors")) for name, t in load_file(file).items()}


def rewrite(checkpoint: Path, tensors: dict[str, torch.Tensor], num_files: int = 1, has_format: bool = True) -> None:
    """Replace a checkpoint's weights, in `num_files` shards, with or without the `format` metadata."""
    for file in checkpoint.glob("model*safetensors*"):
        file.unlink()
    metadata = {"format": "pt"} if has_format else None
    names = sorted(tensors)
    if num_files == 1:
        save_file(tensors, checkpoint / "model.safetensors", metadata)
        return
    weight_map = {
        name: f"model-{place % num_files + 1:05}-of-{num_files:05}.safetensors" for place, name in enumerate(names)
    }
    for shard in set(weight_map.values()):
        save_file({name: tensors[name] for name in names if weight_map[name] == shard}, checkpoint / shard, metadata)
    index = {"metadata": {}, "weight_map": weight_map}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


def outputs_of(loaded: LoadedModel) -> list[torch.Tensor]:
    """Logits and greedy answers for a video and for an image."""
    rng = np.random.default_rng(0)
    results = []
    for visuals in (
        {"videos": [rng.integers(0, 256, (3, 60, 80, 3), np.uint8)]},
        {"images": [Image.fromarray(rng.integers(0, 256, (112, 56, 3), np.uint8))]},  # upright: fits all pinpoints
    ):
        inputs = loaded.processor(text="<|im_start|>user\n<image>\nWhat?<|im_end|>\n", **visuals)
        with torch.no_grad():
            results.append(loaded.model(**inputs).logits)
        results.append(loaded.model.generate(**inputs, do_sample=False, max_new_tokens=6))
    return results


@pytest.fixture(scope="module")
def plain() -> list[torch.Tensor]:
    return outputs_of(load(str(A), device="cpu"))


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def failure(model_id: str | Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(str(model_id), device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("has_format", [True, False])
@pytest.mark.parametrize("num_files", [1, 4])
def test_sharding_format_metadata_and_extra_tensors(
    num_files: int, has_format: bool, tmp_path: Path, plain: list[torch.Tensor]
) -> None:
    """Older versions also saved buffers and an unused resampler."""
    checkpoint = copy_a(tmp_path, **DPO)
    extra = {
        f"{TOWER}embeddings.position_ids": torch.arange(17)[None],
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
        "model.vision_resampler.pool.weight": torch.ones(4),
    }
    rewrite(checkpoint, tensors_of(checkpoint) | extra, num_files, has_format)
    assert_same(outputs_of(load(str(checkpoint), device="cpu")), plain)


def test_bfloat16(tmp_path: Path) -> None:
    """16-bit weights are converted to float32 exactly."""
    checkpoint = copy_a(tmp_path, **DPO, torch_dtype="bfloat16")
    halves = {name: tensor.to(torch.bfloat16) for name, tensor in tensors_of(checkpoint).items()}
    rewrite(checkpoint, halves, 4)
    ours = outputs_of(load(str(checkpoint), device="cpu"))
    rewrite(checkpoint, {name: tensor.float() for name, tensor in halves.items()})
    assert_same(ours, outputs_of(load(str(checkpoint), device="cpu")))


@pytest.mark.parametrize(
    "missing",
    [
        ["tokenizer.json"],
        ["added_tokens.json", "special_tokens_map.json", "generation_config.json"],
        ["tokenizer.json", "added_tokens.json", "special_tokens_map.json", "generation_config.json"],
    ],
)
def test_tokenizers_with_fewer_files(missing: list[str], tmp_path: Path) -> None:
    checkpoint = copy_a(tmp_path)
    for name in missing:
        (checkpoint / name).unlink()
    file = checkpoint / "tokenizer_config.json"
    values = json.loads(file.read_text())
    values.pop("chat_template", None)
    file.write_text(json.dumps(values))
    ours, theirs = load(str(checkpoint), device="cpu"), load(str(A), device="cpu")
    text = "<|im_start|>user\nWhat happens?<|im_end|>\n"
    assert ours.processor.encode_text(text, True) == theirs.processor.encode_text(text, True)
    assert ours.processor.encode_text(text) == theirs.processor.encode_text(text)
    assert ours.model.num_tokens == theirs.model.num_tokens == 600


def test_a_vocabulary_without_padding_rows(tmp_path: Path, plain: list[torch.Tensor]) -> None:
    checkpoint = copy_a(tmp_path, vocab_size=600)
    cut = {
        name: tensor[:600].clone() if name in ("lm_head.weight", "model.embed_tokens.weight") else tensor
        for name, tensor in tensors_of(checkpoint).items()
    }
    rewrite(checkpoint, cut)
    ours = outputs_of(load(str(checkpoint), device="cpu"))
    assert torch.allclose(ours[0], plain[0], atol=1e-5)
    assert torch.equal(ours[1], plain[1])
    file = checkpoint / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"vocab_size": 640}))
    assert "is 600 × 64, but config.json says 640 × 64" in failure(checkpoint)


@pytest.mark.parametrize(
    "name",
    [
        f"/mnt/bn/vl-research/checkpoints/{CLIP_NAME}",
        "/data/weights/clip-vit-large-patch14-336/",
        "D:\\models\\openai\\clip-vit-large-patch14-336",
        "/home/user/.cache/huggingface/hub/models--openai--clip-vit-large-patch14-336/snapshots/ce19dc912ca5cd21",
    ],
)
@pytest.mark.parametrize("folder", ["openai/clip-vit-large-patch14-336", "clip-vit-large-patch14-336"])
def test_a_tower_named_by_a_path_on_another_machine(
    name: str, folder: str, tmp_path: Path, plain: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are in the checkpoint, under the name's last parts. The network is not used."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    point_at(f"http://127.0.0.1:{closed_port()}", monkeypatch)
    checkpoint = copy_a(tmp_path, mm_vision_tower=name)
    (checkpoint / folder).parent.mkdir(exist_ok=True)
    shutil.move(tmp_path / CLIP_NAME, checkpoint / folder)
    assert_same(outputs_of(load(str(checkpoint), device="cpu")), plain)


def replace_tower(checkpoint: Path, hidden_size: int, num_layers: int) -> None:
    """Replace the weights of the vision tower by random ones of another shape, with heads of 64 as in OpenAI's CLIP."""
    tensors, generator = tensors_of(checkpoint), torch.Generator().manual_seed(0)
    sizes = {32: hidden_size, 128: 4 * hidden_size}
    for name in list(tensors):
        tensor = tensors[name]
        if name.startswith(f"{TOWER}encoder.layers.") and int(name.split("layers.")[1].split(".")[0]) >= num_layers:
            del tensors[name]
        elif name.startswith(TOWER) or name == "model.mm_projector.0.weight":
            keep_first = 1 if name.endswith("0.weight") and "projector" in name else 0
            shape = [size if axis < keep_first else sizes.get(size, size) for axis, size in enumerate(tensor.shape)]
            tensors[name] = torch.randn(shape, generator=generator) * 0.05
    rewrite(checkpoint, tensors)


def test_the_towers_shape_is_inferred_from_its_weights(tmp_path: Path) -> None:
    """Without a config.json, the weights and an OpenAI name determine its contents."""
    checkpoint = copy_a(tmp_path, mm_vision_tower="/somewhere/openai/clip-vit-tiny", mm_hidden_size=128)
    replace_tower(checkpoint, hidden_size=128, num_layers=2)
    shutil.rmtree(tmp_path / "openai")
    loaded = load(str(checkpoint), device="cpu")
    vision = loaded.model.config.vision_config
    assert (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers) == (128, 512, 2)
    assert (vision.image_size, vision.patch_size, vision.num_attention_heads) == (56, 14, 2)
    assert vision.hidden_act == "quick_gelu"
    ours = outputs_of(loaded)
    tower = checkpoint / "clip-vit-tiny"
    tower.mkdir()
    (tower / "config.json").write_text(json.dumps({"vision_config": vision.to_dict()}))
    assert_same(ours, outputs_of(load(str(checkpoint), device="cpu")))


def test_a_tower_of_unknown_shape(tmp_path: Path) -> None:
    checkpoint = copy_a(tmp_path, mm_vision_tower="/mnt/someone/own-tower")
    shutil.rmtree(tmp_path / "openai")
    assert (
        f"the shape of the vision tower '/mnt/someone/own-tower' is unknown: put its config.json into "
        f"{checkpoint / 'own-tower'}"
    ) in failure(checkpoint)


def fail_from_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> dict[str, int]:
    """Serve `folder` as a Hub repository and expect loading it to fail. Returns the bytes sent per path."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    sent: dict[str, int] = {}
    with serve_hub(folder, sent=sent) as endpoint:
        point_at(endpoint, monkeypatch)
        line = failure("someone/longva")
    assert line.startswith("someone/longva ")
    assert message in line
    return sent


def test_pickled_weights_are_rejected_before_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = copy_a(tmp_path)
    for file in checkpoint.glob("model*"):
        file.unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"a pickle")
    message = "its weights in pytorch_model.bin, a pickle, which could run code and is not loaded; convert them to"
    assert message in failure(checkpoint)
    sent = fail_from_hub(checkpoint, tmp_path, monkeypatch, message)
    assert not [path for path in sent if "/resolve/" in path]


def test_an_unknown_tower_is_rejected_after_reading_the_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights might reveal its shape, so their headers are fetched, and no more."""
    checkpoint = copy_a(tmp_path, mm_vision_tower="/mnt/someone/own-tower")
    rewrite(checkpoint, tensors_of(checkpoint) | {"lm_head.weight": torch.zeros(40_000, 64)})
    message = "the shape of its vision tower '/mnt/someone/own-tower' is unknown"
    sent = fail_from_hub(checkpoint, tmp_path, monkeypatch, message)
    [(_, num_bytes)] = [(path, count) for path, count in sent.items() if path.endswith(".safetensors")]
    assert num_bytes < 300_000 < (checkpoint / "model.safetensors").stat().st_size


def test_the_default_model_comes_from_the_hub(
    tmp_path: Path, plain: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint in the format of LongVA-7B-DPO loads from the Hub without its tower's own repository."""
    checkpoint = copy_a(tmp_path, **DPO, **TRAINING, mm_vision_tower=f"/mnt/disk/{CLIP_NAME}")
    shutil.move(tmp_path / "openai", checkpoint / "openai")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    sent: dict[str, int] = {}
    with serve_hub(checkpoint, sent=sent) as endpoint:
        point_at(endpoint, monkeypatch)
        loaded = load("lmms-lab/LongVA-7B-DPO", device="cpu")
    assert_same(outputs_of(loaded), plain)
    assert all("lmms-lab/LongVA-7B-DPO" in path for path in sent)
