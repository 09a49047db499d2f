"""The flat config.json of the published checkpoints as a transformers configuration, with what vLLM expects in it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, Qwen2Config

CLIP_NAME = "openai/clip-vit-large-patch14-336"
# The shape of openai/clip-vit-large-patch14-336, whose files are not in the published checkpoints.
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
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# arXiv 2406.16852, section 3.1: trained further on text of up to 224K tokens. The published config.json says 32,768.
PUBLISHED_SHAPE = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}
PUBLISHED_CONTEXT, PUBLISHED_ROPE_THETA = 224_000, 1e9
MAX_GRIDS = 49


class LongVAConfig(Qwen2Config):
    """Qwen2's fields, those of the vision side (`mm_*`), and the vision tower's shape as `vision_config`."""

    model_type = "llava_qwen"

    def __post_init__(self, **kwargs: Any) -> None:
        checkpoint = str(kwargs.get("name_or_path") or kwargs.get("_name_or_path") or "")
        super().__post_init__(**kwargs)
        tower = getattr(self, "mm_vision_tower", CLIP_NAME)
        self.vision_config = CLIPVisionConfig(**vision_values(getattr(self, "vision_config", None), checkpoint, tower))
        if self._is_published_shape and self._rope_theta >= PUBLISHED_ROPE_THETA:
            self.max_position_embeddings = max(PUBLISHED_CONTEXT, self.max_position_embeddings)
        # vLLM takes the smaller of this and the tokenizer's own.
        self.model_max_length = self.max_position_embeddings
        levels = read_tower_file(checkpoint, tower, "preprocessor_config.json") or {}
        self.pixel_mean = list(levels.get("image_mean") or CLIP_MEAN)
        self.pixel_std = list(levels.get("image_std") or CLIP_STD)
        self.reducing_gap = levels.get("reducing_gap")

    @property
    def _is_published_shape(self) -> bool:
        return all(getattr(self, name) == value for name, value in PUBLISHED_SHAPE.items())

    @property
    def _rope_theta(self) -> float:
        return float((self.rope_parameters or {}).get("rope_theta") or 0.0)

    @property
    def side(self) -> int:
        """S: the side of a frame or a grid in pixels."""
        return int(self.vision_config.image_size)  # type: ignore[arg-type]

    @property
    def patches_per_side(self) -> int:
        """Patches along one side of a frame: 24 in LongVA-7B."""
        return self.side // int(self.vision_config.patch_size)  # type: ignore[arg-type]

    @property
    def pooling_stride(self) -> int:
        """Of video frames."""
        return int(getattr(self, "mm_spatial_pool_stride", 2))

    @property
    def pooling_mode(self) -> str:
        """Of video frames: "average" or "max"."""
        return str(getattr(self, "mm_spatial_pool_mode", "average"))

    @property
    def tokens_per_frame(self) -> int:
        """144 in LongVA-7B."""
        return (self.patches_per_side // self.pooling_stride) ** 2

    @property
    def tokens_per_grid(self) -> int:
        """Tokens of one grid of a picture, always pooled 2 × 2: 144 in LongVA-7B."""
        return (self.patches_per_side // 2) ** 2

    @property
    def pinpoints(self) -> list[tuple[int, int]]:
        """The (width, height) in pixels that a picture may be resized to before it is cut into grids."""
        given = getattr(self, "image_grid_pinpoints", None)
        points = ast.literal_eval(given) if isinstance(given, str) else given
        if not points:
            side, counts = self.side, range(1, MAX_GRIDS + 1)
            points = [(w * side, h * side) for w in counts for h in counts if 1 < w * h <= MAX_GRIDS]
        return [(int(width), int(height)) for width, height in points]


def vision_values(given: Any, checkpoint: str, tower: str) -> dict[str, Any]:
    """The vision tower's shape: in config.json, in the tower's own file, or that of the published one by its name.

    Raises:
        ValueError: it is in none of these.
    """
    if hasattr(given, "to_dict"):
        given = given.to_dict()
    values = given or read_tower_file(checkpoint, tower, "config.json")
    if values is None and name_parts(tower)[-1:] == name_parts(CLIP_NAME)[-1:]:
        values = CLIP_VIT_LARGE_336
    if values is None:
        raise ValueError(f"the shape of the vision tower {tower!r} is unknown: put its config.json beside the weights")
    values = values.get("vision_config") or values
    return {name: value for name, value in values.items() if name != "model_type"}


def name_parts(tower: str) -> list[str]:
    """The parts of a tower's name, which is a Hub name or a path on the machine where it was trained.

    >>> name_parts("/data/models/openai/clip-vit"), name_parts("../clip")
    (['data', 'models', 'openai', 'clip-vit'], ['clip'])
    """
    return [part for part in re.split(r"[\\/]+", tower) if part not in ("", ".", "..")]


def read_tower_file(checkpoint: str, tower: str, name: str) -> dict[str, Any] | None:
    """A JSON file of the vision tower: in the checkpoint's folder, or beside it; None if there is none."""
    parts = name_parts(tower)
    if not checkpoint or not parts:
        return None
    folder = Path(checkpoint)
    roots = (folder, folder.resolve().parent)
    places = [root.joinpath(*some) for root in roots for some in (parts, parts[-1:], parts[-2:])]
    file = next((place / name for place in places if (place / name).is_file()), None)
    return None if file is None else json.loads(file.read_text(encoding="utf-8"))
