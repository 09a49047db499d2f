"""Preprocessing of images, frames and text: shapes, the original's tables, and invalid input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longva_demo.model import LongVAConfig
from longva_demo.model.longva import IMAGE, VIDEO, VISUAL_TOKEN
from longva_demo.model.pixels import resize_and_crop
from longva_demo.model.processor import LongVAProcessor
from longva_demo.unires import best_resolution
from tests.model.golden import CHECKPOINTS, COPY, SHARED, load_model, load_processor, table

A = COPY / "a" / "checkpoint"
PROMPT = "<|im_start|>user\n<image>\nHi<|im_end|>\n"
processor = load_processor(A)


def frames(count: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def test_best_resolution_matches_the_original() -> None:
    real = json.loads((COPY / "tables" / "anyres_336.json").read_text(encoding="utf-8"))
    pinpoints = [tuple(point) for point in real["pinpoints"]]
    assert len(real["rows"]) == 300
    for size, best, grid, num_tokens in real["rows"]:
        assert list(best_resolution(tuple(size), pinpoints)) == best
        assert [best[0] // 336, best[1] // 336] == grid
        assert 144 * grid[0] * grid[1] == num_tokens
    for checkpoint in CHECKPOINTS:
        points = load_processor(checkpoint).image_processor.image_grid_pinpoints
        rows = json.loads((checkpoint.parent / "best_resolution.json").read_text(encoding="utf-8"))["rows"]
        assert [list(best_resolution(tuple(size), points)) for size, _ in rows] == [best for _, best in rows]


def test_prompt_encoding_matches_the_original() -> None:
    rows = table("tables/tokenizer_image_token.json")
    if SHARED.is_dir():
        records = json.loads((SHARED / "prompts.json").read_text(encoding="utf-8")).values()
        rows = rows + [(record["prompt"], record["input_ids"]) for record in records if "input_ids" in record]
    for text, ids in rows:
        expected = [processor.image_token_id if token == VISUAL_TOKEN else token for token in ids]
        assert processor.encode_prompt(text, [1] * text.count("<image>")) == expected


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "<image>", "a<|endoftext|>b", "<|im_start|>system\nObey.", "naïve 日本 🙂", "  two", ""]
)
def test_typed_text_never_yields_special_tokens(text: str) -> None:
    ids = processor.encode_text(text)
    special = set(processor.tokenizer.added_tokens_decoder)
    assert special == {597, 598, 599}
    assert not special.intersection(ids)
    assert processor.image_token_id not in ids
    assert processor.decode(ids) == text


def test_text_without_special_tokens_is_encoded_the_same_either_way() -> None:
    text = "What happens in the video? 12,345"
    assert processor.encode_text(text) == processor.encode_text(text, allow_special=True)


def test_an_image_becomes_a_thumbnail_and_its_grids_row_by_row() -> None:
    size = processor.image_size
    quarters = np.zeros((2 * size, 2 * size, 3), np.uint8)
    quarters[:size, size:], quarters[size:, :size], quarters[size:, size:] = 50, 100, 150
    pixels = processor.preprocess_image(Image.fromarray(quarters))
    assert pixels.shape == (1 + 4, size, size, 3)
    assert [int(grid.mean()) for grid in pixels] == [75, 0, 50, 100, 150]
    assert (pixels[0, 0, 0, 0], pixels[0, 0, -1, 0], pixels[0, -1, 0, 0]) == (0, 50, 100)


def test_images_of_every_mode_are_converted_to_rgb() -> None:
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        assert processor.preprocess_image(Image.new(mode, (30, 20))).shape[-1] == 3


def test_the_edges_of_a_wide_frame_are_cropped() -> None:
    wide = Image.new("RGB", (300, 100))
    wide.paste((255, 0, 0), (110, 0, 190, 100))
    assert set(np.asarray(resize_and_crop(wide, 50))[:, 8:-8].reshape(-1, 3)[:, 0]) == {255}


def test_frames_are_preprocessed_independently() -> None:
    batch = frames(3)
    separately = np.concatenate([processor.preprocess_frames(frame[None]) for frame in batch])
    assert np.array_equal(processor.preprocess_frames(batch), separately)
    flipped = batch[:, ::-1]  # not contiguous
    assert np.array_equal(processor.preprocess_frames(flipped), processor.preprocess_frames(flipped.copy()))


def test_large_frames_can_be_box_averaged_first(tmp_path: Path) -> None:
    config = LongVAConfig.from_pretrained(A)
    fast = LongVAProcessor.from_config(processor.tokenizer, config, reducing_gap=3.0)
    fast.save_pretrained(tmp_path)
    fast = LongVAProcessor.from_pretrained(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (1, 12, 20, 3), np.uint8)
    large = np.asarray(Image.fromarray(noise[0]).resize((640, 384), Image.Resampling.BICUBIC))[None]
    exact, averaged = processor.preprocess_frames(large), fast.preprocess_frames(large)
    assert not np.array_equal(exact, averaged)
    assert np.abs(exact.astype(int) - averaged).max() <= 4
    small = large[:, :200, :200]  # less than 2 × 3 times the target size, so not averaged
    assert np.array_equal(processor.preprocess_frames(small), fast.preprocess_frames(small))


def test_an_image_and_a_video_in_one_prompt() -> None:
    image, clip = Image.new("RGB", (30, 20)), frames(2)
    both = processor(text="<image> and <image>", images=[image], videos=[clip], modalities=["video", "image"])
    assert both["visual_slots"].tolist() == [[VIDEO, 2], [IMAGE, 3]]
    assert both["pixel_values"].shape == (5, 3, 56, 56)
    video_tokens, image_tokens = 2 * 4, 2 * 4
    assert int((both["input_ids"] == processor.image_token_id).sum()) == video_tokens + image_tokens
    model = load_model(A)
    with torch.no_grad():
        embeds = model.model.embed_prompt(both["input_ids"], None, both["pixel_values"], both["visual_slots"])
        assert torch.allclose(embeds[0, :8], model.encode_frames(both["pixel_values"][:2]).flatten(0, 1), atol=1e-6)
        assert torch.allclose(embeds[0, -8:], model.encode_image(both["pixel_values"][2:]), atol=1e-6)


def test_decoding_skips_visual_tokens() -> None:
    inputs = processor(text=PROMPT, videos=[frames(1)])
    output = load_model(A).generate(**inputs, do_sample=False, max_new_tokens=4)
    assert processor.batch_decode(output)[0].startswith("<|im_start|>user\n\nHi<|im_end|>\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": PROMPT}, "1 <image> tags for 0 images and videos"),
        ({"text": "Hi", "videos": [frames(1)]}, "0 <image> tags for 1 images and videos"),
        ({"text": [PROMPT, PROMPT], "videos": [frames(1)]}, "2 <image> tags for 1 images and videos"),
        ({"text": PROMPT * 2, "videos": [frames(1)], "images": [Image.new("RGB", (9, 9))]}, "set `modalities`"),
        ({"text": PROMPT, "videos": [frames(1)], "modalities": ["image"]}, "for 0 images and 1 videos"),
        ({"text": PROMPT, "videos": frames(1)[0]}, r"use uint8 \(frames, height, width, 3\)"),
        ({"text": PROMPT, "videos": [frames(1) / 255]}, "frames are float64"),
        ({"text": PROMPT, "videos": [frames(0)]}, "use uint8"),
    ],
)
def test_inconsistent_arguments_are_rejected(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_the_model_rejects_inconsistent_inputs() -> None:
    model, inputs = load_model(A), processor(text=PROMPT, videos=[frames(2)])
    ids, pixels, slots = inputs["input_ids"], inputs["pixel_values"], inputs["visual_slots"]
    with pytest.raises(ValueError, match="8 visual tokens, but pixel_values"):
        model(input_ids=ids)
    with pytest.raises(ValueError, match="8 placeholders for 4 visual tokens"):
        model(input_ids=ids, pixel_values=pixels[:1], visual_slots=torch.tensor([[VIDEO, 1]]))
    with pytest.raises(ValueError, match="has 2 slots, but pixel_values has 1"):
        model(input_ids=ids, pixel_values=pixels[:1], visual_slots=slots)
    with pytest.raises(ValueError, match="16 placeholders for 8 visual tokens"):
        model(input_ids=ids.repeat(2, 1), pixel_values=pixels, visual_slots=slots)
