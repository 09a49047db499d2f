"""LongVA's configuration: the flat `config.json` of the published checkpoints, read and written as it is.

The file holds the language model's numbers (Qwen2) beside those of the vision side (`mm_*`). The vision
tower's own shape stands in a second file, `<mm_vision_tower>/config.json`.
"""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import CLIPVisionConfig, Qwen2Config
from transformers.configuration_utils import SubConfigSpec

CLIP_NAME = "openai/clip-vit-large-patch14-336"
# The published openai/clip-vit-large-patch14-336, so that LongVA-7B needs no second download for its shape.
CLIP_VIT_LARGE_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of red, green and blue, for pixels between 0 and 1
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# arXiv 2406.16852 section 3.1: Qwen2-7B was trained on to 224K tokens of text. The published config.json still
# says 32,768, so the long context is recognised by its shape and RoPE base.
PUBLISHED_CONTEXT = 224_000
PUBLISHED_SHAPE = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}
PUBLISHED_ROPE_THETA = 1e9

# What this code computes; a checkpoint that asks for something else must not load as if it were this.
SUPPORTED = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch",),
    "mm_patch_merge_type": ("unires",),
    "image_aspect_ratio": ("anyres",),
    "mm_spatial_pool_mode": ("average", "max"),
    "mm_resampler_type": (None,),
    "mm_use_im_start_end": (False,),
    "mm_use_im_patch_token": (False,),
}


def tower_folder(root: Path, name: str) -> Path:
    """Where under `root` the files of the vision tower `name` stand.

    >>> tower_folder(Path("ckpt"), "openai/clip").as_posix(), tower_folder(Path("ckpt"), "/models/clip").as_posix()
    ('ckpt/openai/clip', 'ckpt/clip')
    """
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        relative = Path(relative.name)
    return root / relative


def find_tower_file(checkpoint: str | Path, tower_name: str, file_name: str) -> Path | None:
    """Look for a file of the vision tower: in the checkpoint, beside it, then where the name itself leads."""
    places = [Path(tower_name)]
    if str(checkpoint):
        folder = Path(checkpoint)
        places = [tower_folder(folder, tower_name), tower_folder(folder.resolve().parent, tower_name), *places]
    return next((place / file_name for place in places if (place / file_name).is_file()), None)


def find_vision_config(checkpoint: str | Path, tower_name: str) -> dict[str, Any]:
    """The vision tower's shape, from its config.json or, for the published tower, from what is known of it.

    Raises:
        OSError: the tower is another one, and neither a file nor the Hub has its configuration.
    """
    file = find_tower_file(checkpoint, tower_name, "config.json")
    if file is not None:
        values = json.loads(file.read_text(encoding="utf-8"))
        return values.get("vision_config", values)
    if tower_name == CLIP_NAME:
        return dict(CLIP_VIT_LARGE_336)
    return CLIPVisionConfig.from_pretrained(tower_name).to_dict()


class LongVAConfig(Qwen2Config):
    """LongVA's numbers. The defaults are LongVA-7B's (arXiv 2406.16852); `vision_config` is the tower's own.

    Raises:
        ValueError: a value that this code does not compute, with the ones that it does.
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
    image_aspect_ratio: str = "anyres"
    image_grid_pinpoints: list | str | None = None
    tokenizer_model_max_length: int | None = None
    vision_config: Any = None  # a CLIPVisionConfig, from a dict or from what `mm_vision_tower` names

    def __post_init__(self, **kwargs: Any) -> None:
        if kwargs.get("rope_theta") is None and self.rope_parameters is None:
            kwargs["rope_theta"] = PUBLISHED_ROPE_THETA
        for name, allowed in SUPPORTED.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"config.json has {name} = {getattr(self, name)!r}; this code knows {allowed}")
        if self.vision_config is None:
            self.vision_config = find_vision_config(kwargs.get("name_or_path") or "", self.mm_vision_tower)
        if self.image_grid_pinpoints is None:
            image_size = self.vision_config["image_size"]
            self.image_grid_pinpoints = default_pinpoints(image_size)
        # Qwen2Config forgets the window when it is unused; it is kept for the file that is written.
        self.saved_sliding_window = self.sliding_window or kwargs.pop("saved_sliding_window", None)
        super().__post_init__(**kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Read config.json from a folder or the Hub, and the vision tower's config.json with it."""
        kwargs.setdefault("name_or_path", str(pretrained_model_name_or_path))
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

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
        """Visual tokens of one grid of a picture, always pooled 2 x 2: 144 in LongVA-7B."""
        return (self.patches_per_side // 2) ** 2

    @property
    def rope_base(self) -> float:
        """The base of the rotary position embedding: 1e9 in LongVA-7B, which is what makes its context long."""
        assert self.rope_parameters is not None
        return float(self.rope_parameters["rope_theta"] or 0.0)

    @property
    def context_length(self) -> int:
        """The longest sequence, in tokens, that the model was made for: 224,000 for LongVA-7B."""
        shape = {name: getattr(self, name) for name in PUBLISHED_SHAPE}
        if shape == PUBLISHED_SHAPE and self.rope_base >= PUBLISHED_ROPE_THETA:
            return max(PUBLISHED_CONTEXT, self.max_position_embeddings)
        return self.max_position_embeddings

    @property
    def head_size(self) -> int:
        """Width of one attention head of the language model: 128 in LongVA-7B."""
        return getattr(self, "head_dim", None) or self.hidden_size // self.num_attention_heads

    def kv_bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes that one token takes in the key-value cache: 57,344 for LongVA-7B in bfloat16."""
        kv_heads = self.num_key_value_heads or self.num_attention_heads
        return 2 * self.num_hidden_layers * kv_heads * self.head_size * dtype.itemsize

    @property
    def grid_pinpoints(self) -> list[tuple[int, int]]:
        """The resolutions, (width, height) in pixels, that a picture may be cut into grids from."""
        points = self.image_grid_pinpoints
        points = ast.literal_eval(points) if isinstance(points, str) else points
        return [(int(width), int(height)) for width, height in points or []]

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json holds: flat, in the names that the original code reads (transformers 4.40)."""
        values = super().to_diff_dict()
        for name in ("vision_config", "layer_types", "saved_sliding_window"):
            values.pop(name, None)
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


def write_preprocessor(
    folder: Path, image_size: int, mean: Sequence[float], std: Sequence[float], reducing_gap: float | None = None
) -> None:
    """Write preprocessor_config.json in the form that CLIP's was published in; `reducing_gap` is our own addition."""
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
    """Indented, readable by people; what JSON has no form for (a dtype) is written as its name."""
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def default_pinpoints(image_size: int, max_grids: int = 49) -> list[list[int]]:
    """All (width, height) of up to 49 grids, the single grid left out, as LongVA was trained.

    >>> default_pinpoints(336, max_grids=3)
    [[336, 672], [336, 1008], [672, 336], [1008, 336]]
    """
    sides = range(1, max_grids + 1)
    grids = [(w, h) for w in sides for h in sides if 1 < w * h <= max_grids]
    return [[w * image_size, h * image_size] for w, h in grids]
