"""LongVA's configuration: reads and writes the flat `config.json` of the published checkpoints.

The file mixes the language model's fields (Qwen2) with those of the vision side (`mm_*`). The vision tower's own
shape is in a second file, `<mm_vision_tower>/config.json`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import CLIPVisionConfig, PreTrainedConfig, Qwen2Config
from transformers.configuration_utils import SubConfigSpec

from longva_demo.model.bounds import MAX_GRIDS
from longva_demo.model.checkpoint_files import check_local
from longva_demo.model.supported import (
    SUPPORTED,
    check_supported,
    check_vision_config,
    read_pinpoints,
    without_instructions,
)
from longva_demo.model.tower import (
    CLIP_NAME,
    CLIP_VIT_LARGE_336,
    fetch_tower_file,
    find_vision_config,
    tower_folder,
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of red, green and blue, for pixels between 0 and 1
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# arXiv 2406.16852, section 3.1: Qwen2-7B was trained further on text of up to 224K tokens. The published config.json
# still says 32,768, so the long context is recognised by the model's shape and RoPE base.
PUBLISHED_CONTEXT = 224_000
PUBLISHED_SHAPE = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}
PUBLISHED_ROPE_THETA = 1e9

# Qwen2's tokenizer has this many tokens. The published embedding table has more rows, which no text uses.
QWEN2_TOKENS = 151_646


class LongVAConfig(Qwen2Config):
    """LongVA's configuration. Defaults are LongVA-7B's (arXiv 2406.16852).

    Args:
        vision_config: a `CLIPVisionConfig` or its dict; without it, the shape that `mm_vision_tower` is known to have.
        image_token_id: the placeholder of one visual token in `input_ids`. By default the first row of the embedding
            table that no text uses in LongVA-7B, and the last row in other models. A checkpoint with a tokenizer uses
            the first id after it.

    Raises:
        ValueError: a value is not supported; the message lists those that are.
    """

    model_type = "llava_qwen"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {"vision_config": SubConfigSpec(CLIPVisionConfig)}

    vocab_size: int = 152064
    hidden_size: int = 3584
    intermediate_size: int = 18944
    num_hidden_layers: int = 28
    num_attention_heads: int = 28
    num_key_value_heads: int | None = 4
    bos_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151645

    mm_vision_tower: str = CLIP_NAME
    mm_hidden_size: int = 1024
    mm_projector_type: str = "mlp2x_gelu"
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: str = "patch"
    mm_patch_merge_type: str = "unires"
    mm_spatial_pool_mode: str = "average"
    mm_spatial_pool_stride: int = 2
    mm_resampler_type: str | None = None
    mm_use_im_start_end: bool = False
    mm_use_im_patch_token: bool = False
    s2: bool = False
    image_aspect_ratio: str = "anyres"
    image_grid_pinpoints: list | str | None = None
    tokenizer_model_max_length: int | None = None
    image_token_id: int | None = None
    vision_config: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        if kwargs.get("rope_theta") is None and self.rope_parameters is None:
            kwargs["rope_theta"] = PUBLISHED_ROPE_THETA
        checked = (
            *SUPPORTED,
            "mm_spatial_pool_stride",
            "mm_vision_select_layer",
            "mm_vision_tower",
            "image_grid_pinpoints",
        )
        check_supported({name: getattr(self, name) for name in checked})
        if self.vision_config is None:
            self.vision_config = find_vision_config("", self.mm_vision_tower)
        if not isinstance(self.vision_config, PreTrainedConfig):
            check_vision_config(self.vision_config)
        if self.image_token_id is None:
            self.image_token_id = default_image_token(self.vocab_size)
        # Qwen2Config drops an unused window; keep it, so that saving writes it back.
        self.saved_sliding_window = self.sliding_window or kwargs.pop("saved_sliding_window", None)
        super().__post_init__(**kwargs)
        if self.image_grid_pinpoints is None:
            self.image_grid_pinpoints = default_pinpoints(self.vision_config.image_size)
        side = self.vision_config.image_size
        if any(width * height > MAX_GRIDS * side**2 for width, height in self.grid_pinpoints):
            raise ValueError(f"config.json has image_grid_pinpoints of more than {MAX_GRIDS} grids of {side} px")
        heads, groups = self.num_attention_heads, self.num_key_value_heads or self.num_attention_heads
        if heads % groups or (self.hidden_size % heads and not getattr(self, "head_dim", None)):
            sizes = f"hidden_size = {self.hidden_size}, num_attention_heads = {heads}, num_key_value_heads = {groups}"
            raise ValueError(f"config.json has {sizes}; each must be a multiple of the next")
        if self.tokens_per_frame == 0:
            stride, side = self.mm_spatial_pool_stride, self.patches_per_side
            raise ValueError(
                f"config.json has mm_spatial_pool_stride = {stride}, but a frame has only {side} patches per side"
            )
        layer, num_layers = self.mm_vision_select_layer, self.vision_config.num_hidden_layers
        if not -num_layers - 1 <= layer <= -1:
            raise ValueError(f"config.json has mm_vision_select_layer = {layer}; use -{num_layers + 1} to -1")

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read config.json from a folder, a file or the Hub, and the vision tower's config.json beside it."""
        options = dict(kwargs)
        check_local(pretrained_model_name_or_path, **kwargs)
        values, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        return with_vision_config(values, pretrained_model_name_or_path, options), unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """As in transformers. `AutoConfig` reads config.json itself and passes where it is as `name_or_path`."""
        if checkpoint := kwargs.get("name_or_path"):
            options = {"revision": config_dict.get("_commit_hash")}
            config_dict = with_vision_config(dict(config_dict), checkpoint, options)
        check_supported(config_dict)
        return super().from_dict(without_instructions(config_dict), **kwargs)

    def validate(self) -> None:
        """As in transformers, which would warn of a placeholder after the last row of the embedding table."""
        token, self.image_token_id = self.image_token_id, None
        try:
            super().validate()  # type: ignore[misc]
        finally:
            self.image_token_id = token

    @property
    def patches_per_side(self) -> int:
        """Patches along one side of a frame: 24 in LongVA-7B (336 px in patches of 14)."""
        return self.vision_config.image_size // self.vision_config.patch_size

    @property
    def tokens_per_frame(self) -> int:
        """Visual tokens of one video frame: 144 in LongVA-7B."""
        return (self.patches_per_side // self.mm_spatial_pool_stride) ** 2

    @property
    def tokens_per_grid(self) -> int:
        """Visual tokens of one grid of an image, always pooled 2 x 2: 144 in LongVA-7B."""
        return (self.patches_per_side // 2) ** 2

    @property
    def rope_base(self) -> float:
        """The base of the rotary position embedding: 1e9 in LongVA-7B, which enables its long context."""
        assert self.rope_parameters is not None
        return float(self.rope_parameters["rope_theta"] or 0.0)

    @property
    def context_length(self) -> int:
        """The longest sequence, in tokens, that the model supports: 224,000 for LongVA-7B."""
        shape = {name: getattr(self, name) for name in PUBLISHED_SHAPE}
        if shape == PUBLISHED_SHAPE and self.rope_base >= PUBLISHED_ROPE_THETA:
            return max(PUBLISHED_CONTEXT, self.max_position_embeddings)
        return self.max_position_embeddings

    @property
    def head_size(self) -> int:
        """Width of one attention head of the language model: 128 in LongVA-7B."""
        return getattr(self, "head_dim", None) or self.hidden_size // self.num_attention_heads

    def kv_bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes of one token in the KV cache: 57,344 for LongVA-7B in bfloat16."""
        kv_heads = self.num_key_value_heads or self.num_attention_heads
        return 2 * self.num_hidden_layers * kv_heads * self.head_size * dtype.itemsize

    @property
    def num_parameters(self) -> int:
        """Parameters of all matrices: 7.9 billion in LongVA-7B."""
        width, queries = self.hidden_size, self.num_attention_heads * self.head_size
        keys = (self.num_key_value_heads or self.num_attention_heads) * self.head_size
        layer = width * (2 * queries + 2 * keys + 3 * self.intermediate_size)
        tower = self.vision_config
        size, num_patches = tower.hidden_size, self.patches_per_side**2
        tower_layer = size * (4 * size + 2 * tower.intermediate_size)
        embeddings = self.vocab_size * width * (1 if self.tie_word_embeddings else 2)
        patches = size * (3 * tower.patch_size**2 + num_patches)
        language = self.num_hidden_layers * layer + embeddings
        return language + tower.num_hidden_layers * tower_layer + patches + width * (size + width)

    @property
    def grid_pinpoints(self) -> list[tuple[int, int]]:
        """The resolutions, (width, height) in pixels, that an image may be resized to before it is split into grids."""
        return read_pinpoints(self.image_grid_pinpoints)

    def to_diff_dict(self) -> dict[str, Any]:
        """The flat contents of config.json, with the field names that the original code reads (transformers 4.40)."""
        values = super().to_diff_dict()
        for name in ("vision_config", "layer_types", "saved_sliding_window", "image_token_id", "s2"):
            values.pop(name, None)
        vision = self.vision_config.to_dict()
        if not CLIP_VIT_LARGE_336.items() <= vision.items():  # the published tower's is known
            values["vision_config"] = self.vision_config.to_diff_dict()
        if self.image_token_id != default_image_token(self.vocab_size):
            values["image_token_id"] = self.image_token_id
        rope = dict(values.pop("rope_parameters"))
        values["rope_theta"] = rope.pop("rope_theta")
        values["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
        values["sliding_window"] = self.saved_sliding_window
        if values.get("dtype") is not None:
            values["torch_dtype"] = str(values.pop("dtype"))
        if values.get("architectures"):
            values["architectures"] = ["LlavaQwenForCausalLM"]
        return values

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Write config.json and, under `mm_vision_tower`, the tower's config.json and preprocessor_config.json."""
        super().save_pretrained(save_directory, **kwargs)
        folder = tower_folder(Path(save_directory), self.mm_vision_tower)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"model_type": "clip", "vision_config": self.vision_config.to_diff_dict()})
        if not (folder / "preprocessor_config.json").is_file():
            write_preprocessor(folder, self.vision_config.image_size, CLIP_MEAN, CLIP_STD)


def with_vision_config(values: dict[str, Any], checkpoint: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A config.json's values, with the vision tower's own if they lack them; `options` are those of from_pretrained."""
    if values.get("vision_config") is None and values.get("model_type") == LongVAConfig.model_type:
        check_supported(values)
        tower = values.get("mm_vision_tower", CLIP_NAME)
        folder = fetch_tower_file(checkpoint, tower, "config.json", **options)
        values["vision_config"] = find_vision_config(folder, tower)
    return values


def default_image_token(vocab_size: int) -> int:
    """The placeholder of a visual token in a model without a tokenizer.

    >>> default_image_token(152_064), default_image_token(640)
    (151646, 639)
    """
    return QWEN2_TOKENS if vocab_size > QWEN2_TOKENS else vocab_size - 1


def write_preprocessor(
    folder: Path, image_size: int, mean: Sequence[float], std: Sequence[float], reducing_gap: float | None = None
) -> None:
    """Write preprocessor_config.json in CLIP's published format; `reducing_gap` is an extension of this project."""
    values = {
        "crop_size": image_size,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": list(mean),
        "image_std": list(std),
        "resample": 3,  # bicubic
        "size": image_size,
    } | ({} if reducing_gap is None else {"reducing_gap": reducing_gap})
    write_json(folder / "preprocessor_config.json", values)


def write_json(file: Path, values: Any) -> None:
    """Write indented JSON. Values that JSON cannot represent, such as a dtype, are written as strings."""
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def default_pinpoints(image_size: int, max_grids: int = 49) -> list[list[int]]:
    """All (width, height) of 2 to `max_grids` grids, as LongVA was trained.

    >>> default_pinpoints(336, max_grids=3)
    [[336, 672], [336, 1008], [672, 336], [1008, 336]]
    """
    sides = range(1, max_grids + 1)
    grids = [(w, h) for w in sides for h in sides if 1 < w * h <= max_grids]
    return [[w * image_size, h * image_size] for w, h in grids]
