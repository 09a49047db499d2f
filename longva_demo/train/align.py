"""Stage 2, vision alignment: train on single images with UniRes. Video understanding transfers from images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, CLIPVisionModel, Qwen2ForCausalLM, TrainingArguments

from longva_demo.errors import DemoError
from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from longva_demo.model.tower import CLIP_NAME
from longva_demo.train.rows import Conversations
from longva_demo.train.trainer import LongVATrainer, print_on_main_process

MAX_REPORTED = 20  # skipped rows


@dataclass
class AlignOptions:
    """The model, the data and what to train."""

    model: str = field(metadata={"help": "a LongVA or Qwen2 checkpoint to start from (a folder or a Hub name)"})
    data: str = field(metadata={"help": "rows in LLaVA's JSON format"})
    images: str = field(default=".", metadata={"help": "the folder that the rows' image paths are relative to"})
    vision_tower: str = field(default=CLIP_NAME, metadata={"help": "the CLIP model to combine with a Qwen2 checkpoint"})
    projector_only: bool = field(default=False, metadata={"help": "train only the projector (the first step)"})
    vision_tower_lr: float | None = field(default=None, metadata={"help": "learning rate of the vision tower"})
    max_length: int = field(default=32_768, metadata={"help": "maximum number of tokens per row"})
    strict: bool = field(default=False, metadata={"help": "fail on a bad row instead of skipping it"})


def open_model(options: AlignOptions) -> tuple[LongVAForConditionalGeneration, LongVAProcessor]:
    """Load a LongVA, or assemble one from a Qwen2, a CLIP and a new projector.

    Raises:
        DemoError: the checkpoint is neither LongVA nor Qwen2.
    """
    config = AutoConfig.from_pretrained(options.model, trust_remote_code=False)
    if isinstance(config, LongVAConfig):
        processor = LongVAProcessor.from_pretrained(options.model)
        return LongVAForConditionalGeneration.from_pretrained(options.model, dtype="float32"), processor
    if config.model_type != "qwen2":
        raise DemoError(f"{options.model} is a model of type {config.model_type!r}", "use a Qwen2 or LongVA checkpoint")
    tower: Any = CLIPVisionModel.from_pretrained(options.vision_tower, dtype="float32")
    language: Any = Qwen2ForCausalLM.from_pretrained(options.model, dtype="float32")
    values = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    longva_config = LongVAConfig(
        **values,
        mm_vision_tower=options.vision_tower,
        mm_hidden_size=tower.config.hidden_size,
        vision_config=tower.config.to_dict(),
    )
    model = LongVAForConditionalGeneration(longva_config)
    missing, unexpected = model.load_state_dict(language.state_dict(), strict=False)
    assert not unexpected, unexpected
    assert all(".vision_tower." in name or ".mm_projector." in name for name in missing), missing
    model.model.vision_tower.vision_tower.vision_model.load_state_dict(tower.state_dict())
    tokenizer: Any = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False)
    model.use_tokenizer(tokenizer)
    return model, LongVAProcessor.from_config(tokenizer, longva_config)


def align(options: AlignOptions, training: TrainingArguments) -> None:
    """Train a LongVA and save it in the format that the demo loads."""
    model, processor = open_model(options)
    max_length = min(options.max_length, model.config.context_length)
    data = Conversations(Path(options.data), Path(options.images), processor, max_length, options.strict)
    for line in data.skipped[:MAX_REPORTED]:
        print_on_main_process(training, f"skipped: {line}")
    if len(data.skipped) > MAX_REPORTED:
        print_on_main_process(training, f"skipped: {len(data.skipped) - MAX_REPORTED:,} more rows")
    print_on_main_process(training, f"{len(data):,} rows")
    freeze(model, options.projector_only)
    trainer = LongVATrainer(model, training, data, vision_tower_lr=options.vision_tower_lr)
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        processor.save_pretrained(training.output_dir)


def freeze(model: LongVAForConditionalGeneration, projector_only: bool) -> None:
    """Freeze what is not trained, and the CLIP layers after the selected one, which get no gradient."""
    if projector_only:
        model.requires_grad_(False)
        model.model.mm_projector.requires_grad_(True)
        return
    tower = model.model.vision_tower
    vision = tower.vision_tower.vision_model
    for layer in vision.encoder.layers[tower.num_layers_used :]:
        layer.requires_grad_(False)
    vision.post_layernorm.requires_grad_(False)
