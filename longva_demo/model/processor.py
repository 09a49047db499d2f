"""Prompts with images and videos to the model's inputs, and token ids back to text."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.processing_utils import MultiModalData

from longva_demo.errors import short
from longva_demo.model.bounds import PROCESSOR_INTEGERS, check_levels, check_numbers
from longva_demo.model.checkpoint_files import check_local, read_object
from longva_demo.model.config import CLIP_MEAN, CLIP_STD, LongVAConfig
from longva_demo.model.image_processing import LongVAImageProcessor, flatten_images
from longva_demo.model.longva import IMAGE, VIDEO
from longva_demo.model.pixels import grey_levels, normalise, square_frames
from longva_demo.model.prompt import CHAT_TEMPLATE, TAG, VIDEO_TAG, tag_kinds
from longva_demo.model.supported import read_pinpoints
from longva_demo.model.tokenizer import image_token_id, load_tokenizer, write_original_tokenizer
from longva_demo.model.tower import HUB_OPTIONS, fetch_tower_file, find_tower_file
from longva_demo.model.video_processing import LongVAVideoProcessor, flatten_videos


def side_of(size: Any) -> Any:
    """The side in pixels of a preprocessor_config.json's size, in its old (number) or new (dict) form."""
    return next(iter(size.values()), None) if isinstance(size, dict) else size


class LongVAProcessor(ProcessorMixin):
    """Converts text and visuals to model inputs: `processor(text=, images=)` or `processor(text=, videos=)`."""

    image_processor: LongVAImageProcessor
    video_processor: LongVAVideoProcessor
    tokenizer: PreTrainedTokenizerBase

    def __init__(
        self,
        image_processor: LongVAImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        video_processor: LongVAVideoProcessor | None = None,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, video_processor, chat_template=chat_template or CHAT_TEMPLATE)
        self.image_token = self.video_token = TAG

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> type:
        """transformers' own check fails for a video processor where torchvision is not installed."""
        expected = PARTS[argument_name]
        if not isinstance(argument, expected):
            raise TypeError(f"{argument_name} is a {type(argument).__name__}; use a {expected.__name__}")
        return expected

    @classmethod
    def from_config(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        config: LongVAConfig,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        reducing_gap: float | None = None,
    ) -> "LongVAProcessor":
        """The processor of a model.

        Args:
            mean, std: per colour channel, for pixels between 0 and 1.
            reducing_gap: see `LongVAVideoProcessor`.
        """
        levels = {"image_mean": list(mean), "image_std": list(std)}
        images = LongVAImageProcessor.from_config(config, **levels)
        videos = LongVAVideoProcessor.from_config(config, **levels, reducing_gap=reducing_gap)
        return cls(images, tokenizer, videos)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> "LongVAProcessor":
        """Read a folder or a Hub repository: one saved by this class, or an original one.

        The original has a tokenizer, config.json and the vision tower's preprocessor_config.json. Other arguments
        override attributes of the tokenizer, the image processor and the video processor.
        """
        given = {name: kwargs[name] for name in (*HUB_OPTIONS, "subfolder") if name in kwargs}
        changes = {name: value for name, value in kwargs.items() if name not in given and not name.startswith("_")}
        changes.pop("trust_remote_code", None)
        check_local(pretrained_model_name_or_path, **given)
        saved, _ = cls.get_processor_dict(pretrained_model_name_or_path, **given)
        template = saved.pop("chat_template", None)
        # `generate` continues the last token, so a batch is padded on the left.
        tokenizer = load_tokenizer(pretrained_model_name_or_path, **given | {"padding_side": "left"} | changes)
        if "image_processor" in saved and "video_processor" in saved:
            images = LongVAImageProcessor(**read_part(LongVAImageProcessor, saved["image_processor"], changes))
            videos = LongVAVideoProcessor(**read_part(LongVAVideoProcessor, saved["video_processor"], changes))
            return cls(images, tokenizer, videos, chat_template=template)
        config = LongVAConfig.from_pretrained(pretrained_model_name_or_path, **given)
        levels = read_preprocessor(pretrained_model_name_or_path, config, given)
        gap = levels.pop("reducing_gap", None)
        images = LongVAImageProcessor.from_config(config, **levels | known(LongVAImageProcessor, changes))
        levels |= {"reducing_gap": gap} | known(LongVAVideoProcessor, changes)
        # A tokenizer's own template takes text only.
        return cls(images, tokenizer, LongVAVideoProcessor.from_config(config, **levels))

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> list[str]:  # type: ignore[override]
        """Write the tokenizer as the original reads it, processor_config.json and chat_template.jinja."""
        written = list(super().save_pretrained(save_directory, **kwargs))
        write_original_tokenizer(self.tokenizer, Path(save_directory))
        return written

    @property
    def image_token_id(self) -> int:
        """The id of one visual token in `input_ids`, the model's `config.image_token_id`."""
        return image_token_id(self.tokenizer)

    video_token_id = image_token_id

    @property
    def image_size(self) -> int:
        """S: the side of a frame or a grid in pixels."""
        return self.video_processor.side

    @property
    def mean(self) -> tuple[float, ...]:
        """Per colour channel, for pixels between 0 and 1."""
        return tuple(self.video_processor.image_mean)

    @property
    def model_input_names(self) -> list[str]:
        """The names of what this processor returns."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def preprocess_frames(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (frames, height, width, 3) to uint8 (frames, S, S, 3), on all cores."""
        return square_frames(frames, self.image_size, self.video_processor.reducing_gap)

    def preprocess_image(self, image: Image.Image) -> np.ndarray:
        """UniRes: an image to uint8 (1 + grids, S, S, 3): the whole image, squashed, then its grids row by row."""
        return self.image_processor.split(image)

    @cached_property
    def normalised_levels(self) -> np.ndarray:
        """(3, 256) float32: the normalised value of each grey level."""
        return grey_levels(self.image_processor.image_mean, self.image_processor.image_std)

    def normalise(self, pixels: np.ndarray) -> torch.Tensor:
        """uint8 (n, S, S, 3) to float32 (n, 3, S, S)."""
        return normalise(pixels, self.normalised_levels)

    @cached_property
    def plain_tokenizer(self) -> Tokenizer:
        """The tokenizer without special tokens and truncation: everything typed is encoded as text, in full."""
        description = json.loads(self.tokenizer.backend_tokenizer.to_str())
        without: dict[str, Any] = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        return Tokenizer.from_str(json.dumps(description | without))

    def encode_text(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of `text`. Unless allowed, `<|im_end|>` and the like are encoded as text, not as special tokens."""
        if allow_special:
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.plain_tokenizer.encode(text, add_special_tokens=False).ids

    def num_visual_tokens(self, kind: int, num_slots: int) -> int:
        """Number of tokens of a visual: a video's frames, an image's 1 + grids slots, or a single slot's patches."""
        processor = self.video_processor if kind == VIDEO else self.image_processor
        return processor.num_tokens(num_slots)

    def encode_prompt(self, text: str, num_tokens: Sequence[int], tag: str = TAG) -> list[int]:
        """Ids of a whole prompt with special tokens; the i-th tag becomes `num_tokens[i]` times `image_token_id`.

        The text between tags is encoded piece by piece, as in the original: with counts [2], `a<image>b` becomes
        the ids of `a`, two times the placeholder, the ids of `b`.
        """
        pieces = text.split(tag)
        if len(pieces) - 1 != len(num_tokens):
            raise ValueError(f"the text has {len(pieces) - 1} {TAG} tags for {len(num_tokens)} images and videos")
        ids = self.encode_text(pieces[0], allow_special=True)
        for piece, count in zip(pieces[1:], num_tokens, strict=True):
            ids += [self.image_token_id] * count + self.encode_text(piece, allow_special=True)
        return ids

    def __call__(  # type: ignore[override]
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: Any = None,
        audio: None = None,
        modalities: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode one prompt or a batch, with an `<image>` tag for each image and each video.

        Args:
            images, videos: see `LongVAImageProcessor.preprocess` and `LongVAVideoProcessor.preprocess`. Those of all
                prompts follow each other; they may be nested in one list per prompt.
            text: ChatML with its special tokens. For text typed by a user, use `encode_text`.
            modalities: "image" or "video" for each tag in order. Needed only if a call has both, and `<image>` for
                both; with `<video>` for the videos it is clear.
            kwargs: those of transformers' processors. Several prompts are padded unless `padding=False`, on the side
                of the tokenizer's `padding_side`. Nothing is truncated unless asked for.
        Returns:
            input_ids and attention_mask (batch, T); with visuals also pixel_values (slots, 3, S, S) and visual_slots
            (visuals, 2), see `LongVAModel.get_image_features`.
        Raises:
            ValueError: tags do not match the images and videos, one of these cannot be used, or truncation would cut
                visual tokens.
        """
        if audio is not None:
            raise ValueError("LongVA does not hear; pass images and videos only")
        arguments = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        text_arguments = arguments["text_kwargs"]
        return_tensors = text_arguments.pop("return_tensors", "pt")
        stacks = {
            "image": encode(self.image_processor, list(flatten_images(images)), arguments["images_kwargs"]),
            "video": encode(self.video_processor, list(flatten_videos(videos)), arguments["videos_kwargs"]),
        }
        texts = None if text is None else [text] if isinstance(text, str) else list(text)
        order = tag_kinds(texts or [], {kind: len(parts) for kind, parts in stacks.items()}, modalities)
        queues = {kind: iter(parts) for kind, parts in stacks.items()}
        if texts is None:
            order = [["image"] * len(stacks["image"]) + ["video"] * len(stacks["video"])]
        visuals = [[(KINDS[kind], next(queues[kind])) for kind in kinds] for kinds in order]
        tensors: dict[str, Any] = {}
        if texts is not None:
            tensors |= self._encode_texts(texts, visuals, text_arguments)
            if arguments["return_mm_token_type_ids"]:
                tensors["mm_token_type_ids"] = self.create_mm_token_type_ids(tensors["input_ids"])
        if flat := [visual for group in visuals for visual in group]:
            tensors["pixel_values"] = torch.cat([pixels for _, pixels in flat])
            tensors["visual_slots"] = torch.tensor([[kind, len(pixels)] for kind, pixels in flat])
        return BatchFeature(tensors, tensor_type=return_tensors)

    def _encode_texts(
        self, texts: list[str], visuals: list[list[tuple[int, torch.Tensor]]], arguments: dict[str, Any]
    ) -> dict[str, list[list[int]]]:
        """Ids and attention masks of a batch, truncated and padded as the arguments say."""
        has_videos = any(kind == VIDEO for group in visuals for kind, _ in group)
        batch: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": []}
        for prompt, group in zip(texts, visuals, strict=True):
            counts = [self.num_visual_tokens(kind, len(pixels)) for kind, pixels in group]
            ids = self.encode_prompt(prompt.replace(VIDEO_TAG, TAG) if has_videos else prompt, counts)
            limit = arguments.get("max_length")
            if arguments.get("truncation") and limit is not None and len(ids) > limit:
                ids = ids[:limit] if self.tokenizer.truncation_side == "right" else ids[-limit:]
                if ids.count(self.image_token_id) != sum(counts):
                    raise ValueError(f"truncation to {limit} tokens cuts images or frames; set a larger max_length")
            batch["input_ids"].append(ids)
            # As in the original, <|endoftext|> is the padding token and is masked, even where it was typed.
            batch["attention_mask"].append([int(token != self.tokenizer.pad_token_id) for token in ids])
        padding = arguments.get("padding")
        names = ("max_length", "pad_to_multiple_of", "padding_side")
        given = {name: arguments[name] for name in names if arguments.get(name) is not None}
        padded = self.tokenizer.pad(batch, padding=len(texts) > 1 if padding is None else padding, **given)
        return {name: padded[name] for name in batch}

    def decode(self, token_ids: Any, **kwargs: Any) -> Any:
        """Text of (T,) token ids, without visual tokens; a list of texts for a batch."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if ids and isinstance(ids, (list, tuple)) and not isinstance(ids[0], int):
            return self.batch_decode(ids, **kwargs)
        ids = [ids] if isinstance(ids, int) else ids
        return self.tokenizer.decode([id_ for id_ in ids if id_ >= 0 and id_ != self.image_token_id], **kwargs)

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        """Texts of (batch, T) token ids, without visual tokens."""
        return [self.decode(sequence, **kwargs) for sequence in sequences]

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """Texts of what `generate` returned."""
        return self.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)

    def _get_num_multimodal_tokens(self, image_sizes: Any = None, video_sizes: Any = None, **_: Any) -> MultiModalData:
        """Visual tokens of images, (height, width) each, and of videos, (frames, height, width) each."""
        slots = [self.image_processor.num_slots((width, height)) for height, width in image_sizes or []]
        frames = [num_frames for num_frames, _, _ in video_sizes or []]
        return MultiModalData(
            num_image_tokens=[self.image_processor.num_tokens(count) for count in slots],
            num_image_patches=slots,
            num_video_tokens=[self.video_processor.num_tokens(count) for count in frames],
        )


KINDS = {"image": IMAGE, "video": VIDEO}
PARTS: dict[str, type] = {
    "image_processor": LongVAImageProcessor,
    "tokenizer": PreTrainedTokenizerBase,
    "video_processor": LongVAVideoProcessor,
}


def encode(processor: Any, visuals: list[Any], arguments: dict[str, Any]) -> list[torch.Tensor]:
    """(slots, 3, S, S) of each image or video."""
    if not visuals:
        return []
    features = processor(visuals, **arguments | {"return_tensors": "pt"})
    return list(features["pixel_values"].split(features["visual_slots"][:, 1].tolist()))


def known(processor: type, changes: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `from_pretrained` that are attributes of this image or video processor."""
    return {name: value for name, value in changes.items() if name in processor.valid_kwargs.__annotations__}  # type: ignore[attr-defined]


def read_part(processor: type, values: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a processor saved in processor_config.json, with changes.

    Raises:
        ValueError: one is not usable.
    """
    place = "processor_config.json"
    if not isinstance(values, dict):
        raise ValueError(f"{place} has {short(values)} for a processor; it must be an object")
    values = known(processor, values)
    size = values.get("size")
    sides = {"height": None, "width": None} | size if isinstance(size, dict) else {"height": size}
    check_numbers(values | (sides if "size" in values else {}), PROCESSOR_INTEGERS, {}, place)
    read_pinpoints(values.get("image_grid_pinpoints"))
    check_levels(values, place)
    return values | known(processor, changes)


def read_preprocessor(checkpoint: Any, config: LongVAConfig, given: dict[str, Any]) -> dict[str, Any]:
    """image_mean, image_std and reducing_gap of the vision tower's preprocessor_config.json, as far as there is one."""
    folder = fetch_tower_file(checkpoint, config.mm_vision_tower, "preprocessor_config.json", **given)
    file = find_tower_file(folder, config.mm_vision_tower, "preprocessor_config.json")
    if file is None:
        return {}
    values = read_object(file)
    for name in ("size", "crop_size"):
        if side_of(values.get(name)) != config.vision_config.image_size:
            expected = config.vision_config.image_size
            raise ValueError(f"{file}: {name} is {short(values.get(name))}, but the vision tower expects {expected}")
    check_levels(values, str(file))
    return {name: values[name] for name in ("image_mean", "image_std", "reducing_gap") if name in values}
