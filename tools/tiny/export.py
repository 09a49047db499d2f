"""Trained parts → a LongVA checkpoint in the original on-disk format, in bfloat16."""

import shutil
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from tools.tiny.network import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    LANGUAGE,
    ROPE_THETA,
    VISION,
    VisionModel,
    build_language_model,
)

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOWER = "tower"
TOWER_KEYS, PROJECTOR_KEYS = "model.vision_tower.vision_tower.vision_model.", "model.mm_projector."
REDUCING_GAP = 3.0  # the vision model takes small frames: 540 lines become 84


def make_config(tokenizer: Tokenizer, num_layers: int) -> LongVAConfig:
    """A single grid for all pictures: each is fitted into the square of a frame."""
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
    """The generic class, since Qwen2's tokenizer class replaces the normalizer."""
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


def export(folder: Path, vision: VisionModel, trained: dict[str, Tensor], tokenizer: Tokenizer) -> Path:
    """Write the checkpoint into `folder`, replacing its contents. `trained`: weights of the language model."""
    wrapped = make_tokenizer(tokenizer)
    num_layers = sum(name.endswith("input_layernorm.weight") for name in trained)
    language_model = build_language_model(
        tokenizer.get_vocab_size(), wrapped.eos_token_id, wrapped.pad_token_id, num_layers
    )
    language_model.load_state_dict(trained)
    config = make_config(tokenizer, num_layers)
    model = LongVAForConditionalGeneration(config)
    state = {f"{TOWER_KEYS}{key}": value for key, value in vision.tower.state_dict().items()}
    state |= {f"{PROJECTOR_KEYS}{key}": value for key, value in vision.projector.state_dict().items()}
    state |= language_model.state_dict()
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
    LongVAProcessor.from_config(wrapped, config, reducing_gap=REDUCING_GAP).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    return folder


def split_checkpoint(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of vision and language model of an exported model, under the names of training; from bfloat16."""
    vision, language_model = VisionModel().state_dict(), {}
    for name, value in load_file(checkpoint / "model.safetensors").items():
        if name.startswith(TOWER_KEYS):
            vision[f"tower.{name.removeprefix(TOWER_KEYS)}"] = value.float()
        elif name.startswith(PROJECTOR_KEYS):
            vision[f"projector.{name.removeprefix(PROJECTOR_KEYS)}"] = value.float()
        else:
            language_model[name] = value.float()
    language_model["lm_head.weight"] = language_model["model.embed_tokens.weight"]  # tied
    return vision, language_model
