"""No prompt is cut: the config's `tokenizer_model_max_length` bounds nothing, and a prompt past the context is told."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers.utils import logging as transformers_logging

from longva_demo.model import LongVAForConditionalGeneration, LongVAProcessor
from tests.model.golden import COPY, load_model, load_processor
from tests.model.test_published import copy_a

A = COPY / "a" / "checkpoint"
PROMPT = "<|im_start|>user\n<image>\nWhat happens at the end?<|im_end|>\n<|im_start|>assistant\n"


def clip(num_frames: int) -> np.ndarray:
    return np.random.default_rng(num_frames).integers(0, 256, (num_frames, 20, 30, 3), np.uint8)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told of prompts that are too long; transformers keeps its log lines from pytest."""
    monkeypatch.setattr(transformers_logging.get_logger("transformers"), "propagate", True)
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Keep()
    log = logging.getLogger("longva_demo.model.longva")
    log.addHandler(handler)
    caplog.set_level(logging.WARNING, log.name)
    yield lines
    log.removeHandler(handler)


def load_changed(folder: Path, **changes: object) -> tuple[LongVAForConditionalGeneration, LongVAProcessor]:
    checkpoint = copy_a(folder, **changes)
    return LongVAForConditionalGeneration.from_pretrained(checkpoint), LongVAProcessor.from_pretrained(checkpoint)


def test_a_prompt_past_the_tokenizers_limit_is_read_whole(tmp_path: Path, warned: list[str]) -> None:
    """With a limit of 30 tokens, a prompt of 20 frames gives what it gives without one, to the last question mark."""
    model, processor = load_changed(tmp_path, tokenizer_model_max_length=30)
    inputs = processor(text=PROMPT, videos=[clip(20)])
    num_tokens = inputs["input_ids"].shape[1]
    assert num_tokens > 20 * 4 > 30
    assert model.embed_prompt(**inputs)[0].shape[1] == num_tokens
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, load_model(A)(**inputs).logits)
    answer = model.generate(**inputs, do_sample=False, max_new_tokens=8)
    assert torch.equal(answer, load_model(A).generate(**inputs, do_sample=False, max_new_tokens=8))
    assert torch.equal(answer[:, :num_tokens], inputs["input_ids"])
    assert warned == []


def test_more_frames_than_the_original_took(warned: list[str]) -> None:
    """The 7B's own numbers: 228 frames of 144 tokens are past 32,768, and far inside its context of 224,000."""
    config = load_processor(A).config
    published = type(config)(tokenizer_model_max_length=32_768)
    assert 228 * published.tokens_per_frame > 32_768
    assert 1_555 * published.tokens_per_frame < published.context_length == 224_000
    assert warned == []


@pytest.mark.parametrize("visuals", [{"videos": [clip(20)]}, {}])
def test_a_prompt_past_the_context_is_told_in_one_line_and_not_cut(
    visuals: dict, tmp_path: Path, warned: list[str]
) -> None:
    model, processor = load_changed(tmp_path, max_position_embeddings=64)
    text = PROMPT if visuals else PROMPT.replace("<image>", "word " * 100)
    inputs = processor(text=text, **visuals)
    num_tokens = inputs["input_ids"].shape[1]
    assert num_tokens > 64
    answer = model.generate(**inputs, do_sample=False, max_new_tokens=8)
    [line] = [line for line in warned if "context" in line]
    assert line == (
        f"a prompt of {num_tokens} tokens is longer than the model's context of 64; answers get worse, use fewer frames"
    )
    assert torch.equal(answer, load_model(A).generate(**inputs, do_sample=False, max_new_tokens=8))


def test_a_conversation_that_grows_past_the_context_is_told(tmp_path: Path, warned: list[str]) -> None:
    """Each part is short; with what the cache holds they are too long."""
    model, processor = load_changed(tmp_path, max_position_embeddings=64)
    ids = processor(text="a dog " * 22)["input_ids"]
    assert 32 < ids.shape[1] <= 64
    with torch.no_grad():
        first = model(input_ids=ids, use_cache=True)
        assert warned == []
        model(input_ids=ids, past_key_values=first.past_key_values, use_cache=True)
    assert [line.split(" is longer")[0] for line in warned] == [f"a prompt of {2 * ids.shape[1]} tokens"]


def test_a_tokenizer_saved_with_a_limit_cuts_nothing(tmp_path: Path) -> None:
    """Training code leaves `truncation`, `padding` and `model_max_length` in the tokenizer's files."""
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
