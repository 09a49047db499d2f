"""No prompt is truncated: `tokenizer_model_max_length` is ignored, and a prompt past the context is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from tests.model.golden import COPY, load_model, load_processor
from tests.model.test_published import copy_a

A = COPY / "a" / "checkpoint"
PROMPT = "<|im_start|>user\n<image>\nWhat happens at the end?<|im_end|>\n<|im_start|>assistant\n"


def clip(num_frames: int) -> np.ndarray:
    return np.random.default_rng(num_frames).integers(0, 256, (num_frames, 20, 30, 3), np.uint8)


def load_changed(folder: Path, **changes: object) -> tuple[LongVAForConditionalGeneration, LongVAProcessor]:
    checkpoint = copy_a(folder, **changes)
    return LongVAForConditionalGeneration.from_pretrained(checkpoint), LongVAProcessor.from_pretrained(checkpoint)


def test_a_prompt_past_the_tokenizers_limit_is_not_truncated(tmp_path: Path) -> None:
    """A limit of 30 tokens does not change the output for a prompt of 20 frames."""
    model, processor = load_changed(tmp_path, tokenizer_model_max_length=30)
    inputs = processor(text=PROMPT, videos=[clip(20)])
    num_tokens = inputs["input_ids"].shape[1]
    assert num_tokens > 20 * 4 > 30
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, load_model(A)(**inputs).logits)
    answer = model.generate(**inputs, do_sample=False, max_new_tokens=8)
    assert torch.equal(answer, load_model(A).generate(**inputs, do_sample=False, max_new_tokens=8))
    assert torch.equal(answer[:, :num_tokens], inputs["input_ids"])


def test_the_context_of_the_7b_exceeds_its_tokenizers_limit() -> None:
    """The original accepts 227 frames of 144 tokens; its context holds 1,555."""
    config = LongVAConfig(tokenizer_model_max_length=32_768, max_position_embeddings=32_768)
    assert 228 * config.tokens_per_frame > 32_768
    assert config.context_length == 224_000


@pytest.mark.parametrize("visuals", [{"videos": [clip(20)]}, {}])
def test_a_prompt_past_the_context_is_refused_in_one_line(visuals: dict, tmp_path: Path) -> None:
    model, processor = load_changed(tmp_path, max_position_embeddings=64)
    text = PROMPT if visuals else PROMPT.replace("<image>", "word " * 100)
    inputs = processor(text=text, **visuals)
    num_tokens = inputs["input_ids"].shape[1]
    assert num_tokens > 64
    message = f"the prompt has {num_tokens} tokens, more than the model's context of 64; use fewer frames"
    with pytest.raises(ValueError, match=message):
        model.generate(**inputs, do_sample=False, max_new_tokens=8)


def test_a_tokenizer_saved_with_a_limit_does_not_truncate(tmp_path: Path) -> None:
    """Training code saves `truncation`, `padding` and `model_max_length` in the tokenizer's files."""
    checkpoint = copy_a(tmp_path)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    file = checkpoint / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 8}))
    processor, plain = LongVAProcessor.from_pretrained(checkpoint), load_processor(A)
    for text in ("a dog", "What happens in the video? " * 20):
        assert processor.encode_text(text) == plain.encode_text(text)
        assert processor.encode_text(text, allow_special=True) == plain.encode_text(text, allow_special=True)
        assert torch.equal(processor(text=text)["input_ids"], plain(text=text)["input_ids"])
