"""LongVA used as any other transformers model: Auto classes, chat templates, pipelines, offloading, the Hub."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload, infer_auto_device_map
from huggingface_hub import constants
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    CLIPVisionConfig,
    pipeline,
)

from longva_demo.model import (
    LongVAConfig,
    LongVAForConditionalGeneration,
    LongVAImageProcessor,
    LongVAModel,
    LongVAProcessor,
    LongVAVideoProcessor,
)
from tests.model.golden import COPY, load_model, load_processor
from tests.model.mini_hub import serve_hub
from tests.model.test_loading import point_at

A = COPY / "a" / "checkpoint"
NEEDLE = COPY.parents[2] / "examples" / "needle.mp4"
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6}
processor = load_processor(A)


def clip(num_frames: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, 20, 30, 3), np.uint8)


def chat(*parts: dict) -> list[dict]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What happens?"}]}]


def encode(messages: list, **kwargs: Any) -> Any:
    return processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, processor_kwargs=kwargs
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(clip()[0]).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_the_chat_template_is_the_originals() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "What happens?"}]
    plain = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    assert plain == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\nWhat happens?<|im_end|>\n<|im_start|>assistant\n"
    )
    texts = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    own = processor.tokenizer.apply_chat_template(texts, tokenize=False)
    assert processor.apply_chat_template(texts) == own


def test_content_parts_of_every_kind(picture: Path) -> None:
    """Images and videos as objects, arrays and paths give the same tensors."""
    image = Image.open(picture)
    expected = encode(chat({"type": "image", "image": image}))
    for part in (
        {"path": str(picture)},
        {"url": str(picture)},
        {"image": clip()[0]},
        {"image": torch.tensor(clip()[0])},
    ):
        inputs = encode(chat({"type": "image", **part}))
        assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    frames = encode(chat({"type": "video", "video": clip()}))
    assert frames["visual_slots"].tolist() == [[1, 6]]
    channels_first = torch.tensor(clip().transpose(0, 3, 1, 2))
    as_images = [Image.fromarray(frame) for frame in clip()]
    for video in (torch.tensor(clip()), channels_first, as_images):
        inputs = encode(chat({"type": "video", "video": video}))
        assert torch.equal(inputs["pixel_values"], frames["pixel_values"])
    both = encode(chat({"type": "video", "video": clip(2)}, {"type": "image", "image": image}))
    assert both["visual_slots"].tolist() == [[1, 2], [0, 3]]


def test_a_video_file_is_sampled_evenly() -> None:
    part = {"type": "video", "path": str(NEEDLE)}
    assert encode(chat(part))["visual_slots"].tolist() == [[1, 32]]
    assert encode(chat(part), num_frames=5)["visual_slots"].tolist() == [[1, 5]]
    assert encode(chat(part), fps=0.5)["visual_slots"].tolist() == [[1, 30]]
    sampled = encode(chat({"type": "video", "video": clip()}), num_frames=3, do_sample_frames=True)
    assert torch.equal(
        sampled["pixel_values"], encode(chat({"type": "video", "video": clip()[[0, 2, 5]]}))["pixel_values"]
    )
    with pytest.raises(ValueError, match="pass either num_frames or fps"):
        encode(chat(part), num_frames=3, fps=1.0)


@pytest.mark.parametrize(
    "part", [{"type": "image", "url": "http://127.0.0.1:9/a.png"}, {"type": "video", "url": "ftp://a/b.mp4"}]
)
def test_addresses_are_refused(part: dict) -> None:
    with pytest.raises(ValueError, match="is an address; download it and pass the path"):
        encode(chat(part))


def test_a_batch_of_chats_is_padded_on_the_left() -> None:
    batch = encode([chat({"type": "image", "image": clip()[0]}), [{"role": "user", "content": "Hi"}]])
    assert batch["attention_mask"][1, 0] == 0
    assert batch["attention_mask"][:, -1].tolist() == [1, 1]
    on_the_right = AutoProcessor.from_pretrained(A, padding_side="right")
    ids = on_the_right(text=["Hi", "Hi there"])["attention_mask"]
    assert ids[0, -1] == 0


def test_text_arguments() -> None:
    assert processor(text="Hi", padding="max_length", max_length=9)["input_ids"].shape == (1, 9)
    assert processor(text="Hi", text_kwargs={"padding": "max_length", "max_length": 9})["input_ids"].shape == (1, 9)
    assert processor(text="one two three", truncation=True, max_length=2)["input_ids"].shape == (1, 2)
    assert isinstance(processor(text="Hi", return_tensors="np")["input_ids"], np.ndarray)
    with pytest.raises(ValueError, match="truncation to 5 tokens cuts images or frames"):
        processor(text="<image>", videos=[clip()], truncation=True, max_length=5)
    with pytest.raises(ValueError, match="LongVA does not hear"):
        processor(text="Hi", audio=np.zeros(16))
    with pytest.raises(ValueError, match="size = 100 is not supported; the model needs 56 px squares"):
        processor(images=clip()[0], size=100)


def test_images_and_videos_alone() -> None:
    assert processor(images=[clip()[0], clip()[1]])["visual_slots"].tolist() == [[0, 3], [0, 3]]
    raw = LongVAImageProcessor.from_config(load_model(A).config)(clip()[0], do_normalize=False, do_rescale=False)
    assert 0 <= float(raw["pixel_values"].min()) < 50 < 200 < float(raw["pixel_values"].max()) <= 255
    halves = processor.video_processor(clip(), image_mean=[0.5] * 3, image_std=[0.5] * 3)["pixel_values"]
    assert halves.abs().max() <= 1
    sizes = processor._get_num_multimodal_tokens(image_sizes=[(20, 30)], video_sizes=[(5, 20, 30)])
    assert (sizes.num_image_tokens, sizes.num_video_tokens) == ([8], [20])


def test_a_saved_processor_is_the_same(tmp_path: Path) -> None:
    changed = LongVAProcessor.from_pretrained(A, image_mean=[0.1, 0.2, 0.3], num_frames=7)
    changed.save_pretrained(tmp_path)
    again = LongVAProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == changed.to_dict()
    assert again.video_processor.num_frames == 7
    assert again.chat_template == changed.chat_template
    assert again.tokenizer.get_vocab() == changed.tokenizer.get_vocab()
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is LongVAImageProcessor
    assert type(again.video_processor) is LongVAVideoProcessor
    with pytest.raises(TypeError, match="image_processor is a"):
        LongVAProcessor(again.tokenizer, again.image_processor, again.video_processor)


def test_the_pipeline(picture: Path) -> None:
    pipe = pipeline("image-text-to-text", model=load_model(A), processor=processor)
    image = Image.open(picture)
    inputs = encode(chat({"type": "image", "image": image}))
    output = load_model(A).generate(**inputs, **GREEDY)[0, inputs["input_ids"].shape[1] :]
    expected = processor.decode(output, skip_special_tokens=True)
    messages = chat({"type": "image", "image": image})
    answer = pipe(text=messages, return_full_text=False, generate_kwargs=dict(GREEDY))
    assert answer[0]["generated_text"] == expected
    assert pipe(text=messages, generate_kwargs=dict(GREEDY))[0]["generated_text"][-1] == {
        "role": "assistant",
        "content": expected,
    }
    several = pipe(text=[messages, messages], batch_size=2, return_full_text=False, generate_kwargs=dict(GREEDY))
    assert [one[0]["generated_text"] for one in several] == [expected, expected]
    for call in (
        {"images": image, "text": "<image>\nWhat?"},
        {"images": [image, image], "text": ["<image>\nWhat?", "<image>\nAnd the other one?"]},
        {"text": "Hi"},
    ):
        assert all(one["generated_text"] for one in pipe(**call, generate_kwargs=dict(GREEDY)))
    assert pipe({"images": image, "text": "<image> What?"}, generate_kwargs=dict(GREEDY))[0]["generated_text"]


def test_outputs_are_decoded_with_their_prompt() -> None:
    inputs = encode(chat({"type": "video", "video": clip()}))
    output = load_model(A).generate(**inputs, **GREEDY)
    for texts in (
        processor.batch_decode(output),
        processor.tokenizer.batch_decode(output),
        processor.post_process_image_text_to_text(output, skip_special_tokens=False),
    ):
        assert texts[0].startswith(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n\nWhat"
        )


AUTO: list[tuple[Any, type]] = [
    (AutoConfig, LongVAConfig),
    (AutoModel, LongVAModel),
    (AutoModelForCausalLM, LongVAForConditionalGeneration),
    (AutoModelForImageTextToText, LongVAForConditionalGeneration),
    (AutoModelForMultimodalLM, LongVAForConditionalGeneration),
    (AutoProcessor, LongVAProcessor),
    (LongVAConfig, LongVAConfig),
    (LongVAModel, LongVAModel),
    (LongVAForConditionalGeneration, LongVAForConditionalGeneration),
    (LongVAProcessor, LongVAProcessor),
]


def image_size(loaded: Any) -> int:
    config = getattr(loaded, "config", loaded)
    return config.image_size if isinstance(config, LongVAProcessor) else config.vision_config.image_size


@pytest.mark.parametrize(("auto", "kind"), AUTO, ids=[auto.__name__ for auto, _ in AUTO])
def test_a_tower_is_found_in_a_subfolder_and_in_a_hub_repository(
    auto: Any, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are inside the checkpoint; its name is that of the published tower, whose shape would not fit."""
    shutil.copytree(A, tmp_path / "repository" / "in")
    shutil.copytree(A.parent / "openai", tmp_path / "repository" / "in" / "openai")
    loaded = auto.from_pretrained(tmp_path / "repository", subfolder="in")
    assert (type(loaded), image_size(loaded)) == (kind, 56)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve_hub(tmp_path / "repository" / "in") as endpoint:
        point_at(endpoint, monkeypatch)
        loaded = auto.from_pretrained("someone/longva")
    assert (type(loaded), image_size(loaded)) == (kind, 56)


def test_configurations_round_trip(tmp_path: Path) -> None:
    vision = CLIPVisionConfig(hidden_size=32, image_size=28, patch_size=14, num_hidden_layers=2, num_attention_heads=2)
    for given in (vision, vision.to_dict()):
        config = LongVAConfig(vision_config=given, mm_vision_tower="tower", vocab_size=99)
        assert (config.tokens_per_frame, config.image_token_id) == (1, 98)
        assert LongVAConfig(**config.to_dict()).to_dict() == config.to_dict()
        config.to_json_file(tmp_path / "config.json")
        for again in (LongVAConfig.from_json_file(tmp_path / "config.json"), AutoConfig.from_pretrained(tmp_path)):
            assert again.vision_config.to_dict() == config.vision_config.to_dict()
    alone = LongVAConfig.from_pretrained(A / "config.json")
    assert alone.vision_config.image_size == 56
    assert CLIPVisionConfig.from_pretrained(tmp_path).image_size == 28
    published = LongVAConfig().to_diff_dict()
    assert "vision_config" not in published
    assert "image_token_id" not in json.dumps(published)


@torch.no_grad()
@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_weights_can_be_offloaded(where: str, tmp_path: Path) -> None:
    inputs = encode(chat({"type": "video", "video": clip()}))
    model = LongVAForConditionalGeneration.from_pretrained(A)
    cpu = torch.device("cpu")
    model = cpu_offload(model, cpu) if where == "cpu" else disk_offload(model, str(tmp_path), cpu)
    assert torch.equal(model(**inputs).logits, load_model(A)(**inputs).logits)
    assert torch.equal(model.generate(**inputs, **GREEDY), load_model(A).generate(**inputs, **GREEDY))


def test_the_tower_is_not_split_over_devices() -> None:
    model = load_model(A)
    half = sum(parameter.nbytes for parameter in model.parameters()) // 2
    with torch.device("meta"):
        devices = infer_auto_device_map(
            model, {"cpu": half, "disk": 10 * half}, no_split_module_classes=list(model._no_split_modules)
        )
    assert set(devices.values()) == {"cpu", "disk"}
    assert not any(name.startswith("model.vision_tower.") for name in devices)
