"""Trained parts → a LongVA checkpoint in the original on-disk format, bfloat16, that the product loads as any other."""

import shutil
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from tools.tiny.network import CONTEXT_LENGTH, IMAGE_SIZE, LANGUAGE, ROPE_THETA, VISION, Eyes, build_reader

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOWER = "tower"
TOWER_KEYS, PROJECTOR_KEYS = "model.vision_tower.vision_tower.vision_model.", "model.mm_projector."
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


def make_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Of the class that takes tokenizer.json as it is: Qwen2's has a normalizer of its own."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=CONTEXT_LENGTH,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    probe = "<|im_start|>user\nWhat colour is the RED star, 7?<|im_end|>\n"
    assert wrapped(probe)["input_ids"] == tokenizer.encode(probe, add_special_tokens=False).ids
    return wrapped


def export(folder: Path, eyes: Eyes, trained: dict[str, Tensor], tokenizer: Tokenizer) -> Path:
    """Write the checkpoint into `folder`, which is emptied first. `trained`: the reader's weights."""
    wrapped = make_tokenizer(tokenizer)
    num_layers = sum(name.endswith("input_layernorm.weight") for name in trained)
    reader = build_reader(tokenizer.get_vocab_size(), wrapped.eos_token_id, wrapped.pad_token_id, num_layers)
    reader.load_state_dict(trained)
    config = make_config(tokenizer, num_layers)
    model = LongVAForConditionalGeneration(config)
    state = {f"{TOWER_KEYS}{key}": value for key, value in eyes.tower.state_dict().items()}
    state |= {f"{PROJECTOR_KEYS}{key}": value for key, value in eyes.projector.state_dict().items()}
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


def take_apart(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of eyes and reader of an exported model, as training keeps them; rounded as bfloat16 is."""
    eyes, reader = Eyes().state_dict(), {}
    for name, value in load_file(checkpoint / "model.safetensors").items():
        if name.startswith(TOWER_KEYS):
            eyes[f"tower.{name.removeprefix(TOWER_KEYS)}"] = value.float()
        elif name.startswith(PROJECTOR_KEYS):
            eyes[f"projector.{name.removeprefix(PROJECTOR_KEYS)}"] = value.float()
        else:
            reader[name] = value.float()
    reader["lm_head.weight"] = reader["model.embed_tokens.weight"]  # tied
    return eyes, reader
