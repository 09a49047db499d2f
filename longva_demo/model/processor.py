"""Text, images and frames to tensors: preprocessing that matches Pillow bit for bit, and the prompt's token ids."""

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from longva_demo.model.config import (
    CLIP_MEAN,
    CLIP_STD,
    LongVAConfig,
    write_preprocessor,
)
from longva_demo.model.longva import IMAGE, VIDEO, VISUAL_TOKEN
from longva_demo.model.tokenizer import write_original_tokenizer
from longva_demo.model.tower import find_tower_file, tower_folder
from longva_demo.parallel import in_threads

TAG = "<image>"  # placeholder for one image or one whole video in a prompt


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bicubic with antialiasing, horizontal pass first: identical pixels on every version of Pillow.

    Pillow 13 runs the cheaper pass first, which differs by up to 25 grey levels from what the model was trained on.
    """
    return image.resize((width, image.height), Image.Resampling.BICUBIC).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shortest side to `size`, then crop the central square. The model does not see the rest.

    A 640 x 360 image at size 336 becomes 597 x 336 (597 = int(336 * 640 / 360)), then 336 x 336.
    """
    width, height = image.size
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    if (new_width, new_height) != image.size:
        image = resize(image, new_width, new_height)
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return image.crop((left, top, left + size, top + size))


def reduce_to(image: Image.Image, size: int, gap: float) -> Image.Image:
    """Box-average to the smallest size whose shortest side is still at least `gap` × `size`. Much faster to resize.

    >>> reduce_to(Image.new("RGB", (960, 540)), 84, gap=3.0).size
    (480, 270)
    """
    factor = int(min(image.size) / (gap * size))
    return image.reduce(factor) if factor > 1 else image


def best_resolution(image_size: tuple[int, int], pinpoints: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The resolution that keeps most of an image's pixels, and among those wastes fewest. All are (width, height).

    >>> best_resolution((640, 360), [(336, 672), (672, 336), (672, 672)])
    (672, 672)
    """
    width, height = image_size
    best, best_rank = pinpoints[0], (-1, 0)
    for point in pinpoints:
        scale = min(point[0] / width, point[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        rank = (kept, kept - point[0] * point[1])  # more kept, then less wasted; the first wins a tie
        if rank > best_rank:
            best, best_rank = point, rank
    return best


def resize_and_pad(image: Image.Image, width: int, height: int) -> Image.Image:
    """Fit an image into (width, height), keeping its aspect ratio, centred on black."""
    scale_width, scale_height = width / image.width, height / image.height
    if scale_width < scale_height:
        new_width, new_height = width, min(math.ceil(image.height * scale_width), height)
    else:
        new_width, new_height = min(math.ceil(image.width * scale_height), width), height
    canvas = Image.new("RGB", (width, height))
    canvas.paste(resize(image, new_width, new_height), ((width - new_width) // 2, (height - new_height) // 2))
    return canvas


def side_of(size: int | dict[str, int]) -> int:
    """The side in pixels of a preprocessor_config.json's size, in its old (number) or new (dict) form."""
    return size if isinstance(size, int) else next(iter(size.values()))


class LongVAProcessor(ProcessorMixin):
    """Converts text and visuals to model inputs: `processor(text=, images=)` or `processor(text=, videos=)`.

    Args:
        config: provides the image size, the pinpoints and the number of tokens per frame.
        mean, std: per colour channel, for pixels between 0 and 1.
        reducing_gap: like Pillow's. Larger frames are box-averaged to no less than this many times the target size
            before they are resized. LongVA was trained without it (None).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: LongVAConfig,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        reducing_gap: float | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.mean, self.std = tuple(mean), tuple(std)
        self.reducing_gap = reducing_gap
        self.image_size: int = config.vision_config.image_size
        self.chat_template = getattr(tokenizer, "chat_template", None)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> "LongVAProcessor":
        """Read the tokenizer, config.json and the tower's preprocessor_config.json from a folder or the Hub."""
        hub_options = ("revision", "cache_dir", "token", "local_files_only", "subfolder", "force_download")
        given = {name: kwargs[name] for name in hub_options if name in kwargs}
        config = LongVAConfig.from_pretrained(pretrained_model_name_or_path, **given)
        tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, config=config, **given)
        file = find_tower_file(pretrained_model_name_or_path, config.mm_vision_tower, "preprocessor_config.json")
        if file is None:
            return cls(tokenizer, config)
        values = json.loads(file.read_text(encoding="utf-8"))
        for name in ("size", "crop_size"):
            if side_of(values[name]) != config.vision_config.image_size:
                expected = config.vision_config.image_size
                raise ValueError(f"{file}: {name} is {values[name]}, but the vision tower expects {expected}")
        return cls(tokenizer, config, values["image_mean"], values["image_std"], values.get("reducing_gap"))

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> list[str]:  # type: ignore[override]
        """Write the tokenizer and the tower's preprocessor_config.json, and config.json if there is none yet."""
        folder = Path(save_directory)
        written = list(self.tokenizer.save_pretrained(folder, **kwargs))
        write_original_tokenizer(self.tokenizer, folder)
        if not (folder / "config.json").is_file():
            self.config.save_pretrained(folder)
        tower = tower_folder(folder, self.config.mm_vision_tower)
        tower.mkdir(parents=True, exist_ok=True)
        write_preprocessor(tower, self.image_size, self.mean, self.std, self.reducing_gap)
        return written

    def preprocess_frames(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (frames, height, width, 3) to uint8 (frames, S, S, 3), on all cores."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
            raise ValueError(f"frames are {frames.dtype} {frames.shape}; use uint8 (frames, height, width, 3)")
        size, gap = self.image_size, self.reducing_gap

        def to_square(frame: np.ndarray) -> np.ndarray:
            image = Image.fromarray(np.ascontiguousarray(frame))
            return np.asarray(resize_and_crop(image if gap is None else reduce_to(image, size, gap), size))

        return np.stack(list(in_threads(to_square, frames)))

    def preprocess_image(self, image: Image.Image) -> np.ndarray:
        """UniRes: an image to uint8 (1 + grids, S, S, 3): the whole image, squashed, then its grids row by row."""
        image, size = image.convert("RGB"), self.image_size
        width, height = best_resolution(image.size, self.config.grid_pinpoints)
        canvas = np.asarray(resize_and_pad(image, width, height))  # (height, width, 3)
        grids = canvas.reshape(height // size, size, width // size, size, 3).swapaxes(1, 2)
        whole = np.asarray(resize(image, size, size))[None]
        return np.concatenate([whole, grids.reshape(-1, size, size, 3)])  # (1 + grids, S, S, 3)

    def num_image_slots(self, image_size: tuple[int, int]) -> int:
        """1 + grids: the number of slots that `preprocess_image` returns for an image of (width, height)."""
        width, height = best_resolution(image_size, self.config.grid_pinpoints)
        return 1 + (width // self.image_size) * (height // self.image_size)

    @cached_property
    def normalised_levels(self) -> np.ndarray:
        """(3, 256) float32: the normalised value of each grey level, with the original's intermediate rounding."""
        levels = (np.arange(256) * (1 / 255)).astype(np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return (levels - mean[:, None]) / std[:, None]

    def normalise(self, pixels: np.ndarray) -> torch.Tensor:
        """uint8 (n, S, S, 3) to float32 (n, 3, S, S)."""
        assert (pixels.dtype, pixels.ndim) == (np.uint8, 4), (pixels.dtype, pixels.shape)
        values = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
        for colour, levels in enumerate(self.normalised_levels):
            values[:, colour] = levels[pixels[..., colour]]
        return torch.from_numpy(values)

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
        if kind == VIDEO:
            return num_slots * self.config.tokens_per_frame
        if num_slots == 1:
            return self.config.patches_per_side**2
        return (num_slots - 1) * self.config.tokens_per_grid

    def encode_prompt(self, text: str, num_tokens: Sequence[int]) -> list[int]:
        """Ids of a whole prompt with special tokens; the i-th `<image>` becomes `num_tokens[i]` times VISUAL_TOKEN.

        The text between tags is encoded piece by piece, as in the original: with counts [2], `a<image>b` becomes
        the ids of `a`, two times -200, the ids of `b`.
        """
        pieces = text.split(TAG)
        if len(pieces) - 1 != len(num_tokens):
            raise ValueError(f"the text has {len(pieces) - 1} {TAG} tags for {len(num_tokens)} images and videos")
        ids = self.encode_text(pieces[0], allow_special=True)
        for piece, count in zip(pieces[1:], num_tokens, strict=True):
            ids += [VISUAL_TOKEN] * count + self.encode_text(piece, allow_special=True)
        return ids

    def __call__(  # type: ignore[override]
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        videos: np.ndarray | Sequence[np.ndarray] | None = None,
        modalities: Sequence[str] | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode one whole prompt, with an `<image>` tag for each image and each video.

        Args:
            text: ChatML with its special tokens. For text typed by a user, use `encode_text`.
            modalities: "image" or "video" for each tag in order; needed only if a prompt has both.
        Returns:
            input_ids and attention_mask (1, T); with visuals also pixel_values (slots, 3, S, S) and visual_slots
            (visuals, 2), see `LongVAForConditionalGeneration.encode_visuals`.
        """
        if kwargs or return_tensors != "pt":
            unknown = sorted(kwargs) or return_tensors
            raise TypeError(f"unsupported: {unknown}; this processor returns PyTorch tensors only")
        texts = [text] if isinstance(text, str) else list(text or [])
        if len(texts) != 1:
            raise ValueError(f"{len(texts)} texts; pass exactly one")
        stacks = self.stack_visuals(as_list(images), as_list(videos), modalities)
        counts = [self.num_visual_tokens(kind, len(pixels)) for kind, pixels in stacks]
        input_ids = torch.tensor([self.encode_prompt(texts[0], counts)], dtype=torch.long)
        # As in the original, <|endoftext|> is the padding token and is masked, even where it was typed.
        tensors = {"input_ids": input_ids, "attention_mask": (input_ids != self.tokenizer.pad_token_id).long()}
        if stacks:
            tensors["pixel_values"] = torch.cat([self.normalise(pixels) for _, pixels in stacks])
            tensors["visual_slots"] = torch.tensor([[kind, len(pixels)] for kind, pixels in stacks])
        return BatchFeature(tensors)

    def stack_visuals(
        self, images: list[Image.Image], videos: list[np.ndarray], modalities: Sequence[str] | None
    ) -> list[tuple[int, np.ndarray]]:
        """(kind, uint8 (slots, S, S, 3)) per visual, in the order of the tags."""
        if modalities is None:
            if images and videos:
                raise ValueError("the prompt has images and videos; set `modalities` to say which tag is which")
            modalities = ["image"] * len(images) + ["video"] * len(videos)
        if sorted(modalities) != ["image"] * len(images) + ["video"] * len(videos):
            raise ValueError(f"modalities {list(modalities)} for {len(images)} images and {len(videos)} videos")
        next_image, next_video = iter(images), iter(videos)
        return [
            (IMAGE, self.preprocess_image(next(next_image)))
            if modality == "image"
            else (VIDEO, self.preprocess_frames(np.asarray(next(next_video))))
            for modality in modalities
        ]

    def decode(self, token_ids: Any, **kwargs: Any) -> str:
        """Text of (T,) token ids, without visual tokens."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        return self.tokenizer.decode([token for token in ids if token >= 0], **kwargs)

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        """Texts of (batch, T) token ids, without visual tokens."""
        return [self.decode(sequence, **kwargs) for sequence in sequences]


def as_list(values: Any) -> list:
    """Wrap a single visual in a list; None becomes an empty list. A 4-dimensional array is one video."""
    if values is None:
        return []
    return list(values) if isinstance(values, (list, tuple)) else [values]
