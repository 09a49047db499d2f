"""Stage 2: the long language model learns to see, on single images with UniRes; video comes by itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, CLIPVisionModel, Qwen2ForCausalLM, TrainingArguments

from longva_demo.errors import DemoError
from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor
from longva_demo.model.tower import CLIP_NAME
from longva_demo.train.rows import Conversations
from longva_demo.train.trainer import LongVATrainer, say_on_first

MAX_NAMED = 20  # of the rows that are left out


@dataclass
class AlignOptions:
    """What is trained, and on what."""

    model: str = field(metadata={"help": "a LongVA checkpoint, or a Qwen2 one to begin with (a folder or a Hub name)"})
    data: str = field(metadata={"help": "rows in LLaVA's JSON form"})
    images: str = field(default=".", metadata={"help": "the folder that the rows' pictures are named in"})
    vision_tower: str = field(default=CLIP_NAME, metadata={"help": "CLIP, where the model is a Qwen2 one"})
    projector_only: bool = field(default=False, metadata={"help": "train the projector alone (the first step)"})
    vision_tower_lr: float | None = field(default=None, metadata={"help": "learning rate of the vision tower"})
    longest: int = field(default=32_768, metadata={"help": "most tokens of a row"})
    strict: bool = field(default=False, metadata={"help": "refuse a bad row instead of leaving it out"})


def open_model(options: AlignOptions) -> tuple[LongVAForConditionalGeneration, LongVAProcessor]:
    """A LongVA as it is; or one made of a Qwen2, a CLIP and a new projector.

    Raises:
        DemoError: the checkpoint is neither.
    """
    config = AutoConfig.from_pretrained(options.model)
    if isinstance(config, LongVAConfig):
        processor = LongVAProcessor.from_pretrained(options.model)
        return LongVAForConditionalGeneration.from_pretrained(options.model, dtype="float32"), processor
    if config.model_type != "qwen2":
        raise DemoError(f"{options.model} is a model of type {config.model_type!r}", "give a Qwen2 or a LongVA")
    tower: Any = CLIPVisionModel.from_pretrained(options.vision_tower, dtype="float32")
    language: Any = Qwen2ForCausalLM.from_pretrained(options.model, dtype="float32")
    values = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    made = LongVAConfig(
        **values,
        mm_vision_tower=options.vision_tower,
        mm_hidden_size=tower.config.hidden_size,
        vision_config=tower.config.to_dict(),
    )
    model = LongVAForConditionalGeneration(made)
    missing, unexpected = model.load_state_dict(language.state_dict(), strict=False)
    assert not unexpected, unexpected
    assert all(".vision_tower." in name or ".mm_projector." in name for name in missing), missing
    model.model.vision_tower.vision_tower.vision_model.load_state_dict(tower.state_dict())
    tokenizer: Any = AutoTokenizer.from_pretrained(options.model)
    return model, LongVAProcessor(tokenizer, made)


def align(options: AlignOptions, training: TrainingArguments) -> None:
    """Train and save a LongVA that the demo loads."""
    if training.per_device_train_batch_size != 1:
        count = training.per_device_train_batch_size
        remedy = "use 1, and gradient_accumulation_steps for larger batches"
        raise DemoError(f"per_device_train_batch_size is {count}, but rows with pictures go one by one", remedy)
    model, processor = open_model(options)
    longest = min(options.longest, model.config.context_length)
    data = Conversations(Path(options.data), Path(options.images), processor, longest, options.strict)
    for line in data.skipped[:MAX_NAMED]:
        say_on_first(training, f"left out: {line}")
    if len(data.skipped) > MAX_NAMED:
        say_on_first(training, f"left out: {len(data.skipped) - MAX_NAMED:,} more rows")
    say_on_first(training, f"{len(data):,} rows")
    freeze(model, options.projector_only)
    trainer = LongVATrainer(model, training, data, vision_tower_lr=options.vision_tower_lr)
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        processor.save_pretrained(training.output_dir)


def freeze(model: LongVAForConditionalGeneration, projector_only: bool) -> None:
    """Leave out what is not to change, and what gives nothing: CLIP's layers after the one that is looked at."""
    if projector_only:
        model.requires_grad_(False)
        model.model.mm_projector.requires_grad_(True)
        return
    tower = model.model.vision_tower
    vision = tower.vision_tower.vision_model
    for layer in vision.encoder.layers[tower.num_layers_used :]:
        layer.requires_grad_(False)
    vision.post_layernorm.requires_grad_(False)
