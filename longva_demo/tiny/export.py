"""Trained parts → a LongVA checkpoint in the original on-disk format, bfloat16, that the product loads as any other."""

import json
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen2Tokenizer

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from longva_demo.tiny.network import CONTEXT_LENGTH, IMAGE_SIZE, LANGUAGE, ROPE_THETA, VISION, Eyes, build_reader

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOWER = "tower"
REDUCING_GAP = 3.0  # frames are small to the eyes: 540 lines become 84


def make_config(tokenizer: Tokenizer, num_layers: int) -> LongVAConfig:
    """One grid for a picture of any shape: it is fitted into the square that a frame has."""
    return LongVAConfig(
        **{**LANGUAGE, "num_hidden_layers": num_layers},
        vocab_size=tokenizer.get_vocab_size(),
        rope_theta=ROPE_THETA,  # type: ignore[call-arg]
        bos_token_id=tokenizer.token_to_id("<|endoftext|>"),
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        mm_vision_tower=TOWER,
        mm_hidden_size=VISION["hidden_size"],
        image_grid_pinpoints=[[IMAGE_SIZE, IMAGE_SIZE]],
        tokenizer_model_max_length=CONTEXT_LENGTH,
        vision_config=dict(VISION),
    )


def make_tokenizer(tokenizer: Tokenizer) -> Qwen2Tokenizer:
    description = json.loads(tokenizer.to_str())
    marks = {token["content"]: token["id"] for token in description["added_tokens"]}
    merges = [
        tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in description["model"]["merges"]
    ]
    wrapped = Qwen2Tokenizer(
        vocab=description["model"]["vocab"] | marks,  # given here, the marks keep their numbers
        merges=merges,  # type: ignore[arg-type]
        unk_token=None,  # type: ignore[arg-type]
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=CONTEXT_LENGTH,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    probe = "<|im_start|>user\nWhat colour is the RED star, 7?<|im_end|>\n"
    assert wrapped(probe)["input_ids"] == tokenizer.encode(probe, add_special_tokens=False).ids
    return wrapped


def export(folder: Path, eyes: Eyes, reader_file: Path, tokenizer: Tokenizer) -> Path:
    """Write the checkpoint into `folder`, which is emptied first."""
    wrapped = make_tokenizer(tokenizer)
    trained = torch.load(reader_file, weights_only=True)["reader"]
    num_layers = sum(name.endswith("input_layernorm.weight") for name in trained)
    reader = build_reader(tokenizer.get_vocab_size(), wrapped.eos_token_id, wrapped.pad_token_id, num_layers)
    reader.load_state_dict(trained)
    config = make_config(tokenizer, num_layers)
    model = LongVAForConditionalGeneration(config)
    state = {
        f"model.vision_tower.vision_tower.vision_model.{key}": value for key, value in eyes.tower.state_dict().items()
    }
    state |= {f"model.mm_projector.{key}": value for key, value in eyes.projector.state_dict().items()}
    state |= reader.state_dict()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all("position_ids" in name for name in missing), missing
    model.generation_config = GenerationConfig(
        bos_token_id=wrapped.pad_token_id,
        eos_token_id=[wrapped.eos_token_id, wrapped.pad_token_id],
        pad_token_id=wrapped.pad_token_id,
    )
    if folder.exists():
        shutil.rmtree(folder)
    model.bfloat16().save_pretrained(folder)
    LongVAProcessor(wrapped, config, reducing_gap=REDUCING_GAP).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    return folder
