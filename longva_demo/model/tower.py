"""The vision tower's shape and files: found beside the checkpoint, by name, or from the weights.

A checkpoint names its tower as on the machine where it was trained: by a Hub name or by a path on that machine's disk.
The name is only looked up in the checkpoint itself and on this disk; it is never taken for a repository on the Hub.
"""

import re
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from longva_demo.model.checkpoint_files import read_object

CLIP_NAME = "openai/clip-vit-large-patch14-336"
# The shape of openai/clip-vit-large-patch14-336, so that LongVA-7B needs no second download.
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
LARGE_224 = CLIP_VIT_LARGE_336 | {"image_size": 224}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
KNOWN_TOWERS: dict[str, dict[str, Any]] = {  # OpenAI's, by the last part of the Hub name
    "clip-vit-large-patch14-336": CLIP_VIT_LARGE_336,
    "clip-vit-large-patch14": LARGE_224,
    "clip-vit-base-patch16": LARGE_224 | BASE | {"patch_size": 16, "projection_dim": 512},
    "clip-vit-base-patch32": LARGE_224 | BASE | {"patch_size": 32, "projection_dim": 512},
}
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")
HEAD_SIZE = 64  # in all of OpenAI's CLIP models; it cannot be derived from the weights
WEIGHTS_PREFIX = "model.vision_tower.vision_tower.vision_model."


def name_parts(name: str) -> list[str]:
    """Split a tower's name into parts that can be folder names. For a path in a Hub cache: the repository's parts.

    >>> name_parts("/data/models/openai/clip-vit"), name_parts("D:\\\\models\\\\clip-vit\\\\")
    (['data', 'models', 'openai', 'clip-vit'], ['models', 'clip-vit'])
    >>> name_parts("/cache/models--openai--clip-vit/snapshots/ce19dc")
    ['openai', 'clip-vit']
    """
    parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..") and not part.endswith(":")]
    cached = next((part for part in parts if part.startswith("models--")), None)
    return parts if cached is None else [part for part in cached.split("--")[1:] if part]


def tower_folder(root: Path, name: str) -> Path:
    """The folder under `root` to which the files of the vision tower `name` are written.

    >>> tower_folder(Path("ckpt"), "openai/clip").as_posix(), tower_folder(Path("ckpt"), "/models/clip").as_posix()
    ('ckpt/openai/clip', 'ckpt/clip')
    """
    parts = name_parts(name) or ["tower"]
    is_plain = "/".join(parts) == name
    return root.joinpath(*parts) if is_plain else root / parts[-1]


def candidate_folders(root: Path, name: str) -> list[Path]:
    """The folders under `root` that may contain the files of the vision tower `name`.

    >>> [folder.as_posix() for folder in candidate_folders(Path("ckpt"), "/models/openai/clip")]
    ['ckpt/clip', 'ckpt/openai/clip']
    """
    parts = name_parts(name)
    folders = [tower_folder(root, name), root.joinpath(*parts[-2:])]
    return [*folders, root / "openai" / parts[-1]] if parts and parts[-1] in KNOWN_TOWERS else folders


def find_tower_file(checkpoint: str | Path, tower_name: str, file_name: str) -> Path | None:
    """Find a file of the vision tower: in the checkpoint, beside it, then at `tower_name` taken as a path.

    A path on another machine's disk is matched by its last part, then by its last two.
    """
    if not name_parts(tower_name):  # would resolve to the checkpoint's own folder, which is not the tower's
        return None
    folders = [Path(tower_name)]
    if str(checkpoint):
        roots = (Path(checkpoint), Path(checkpoint).resolve().parent)
        folders = [*(folder for root in roots for folder in candidate_folders(root, tower_name)), *folders]
    return next((folder / file_name for folder in folders if (folder / file_name).exists()), None)


def local_folder(folder: Path) -> Path:
    """The folder of a checkpoint's config.json. `AutoConfig` does not pass on a `subfolder`: take the only one."""
    if (folder / "config.json").is_file():
        return folder
    inside = [file.parent for file in folder.glob("*/config.json")]
    return inside[0] if len(inside) == 1 else folder


def fetch_tower_file(checkpoint: str | Path, tower_name: str, file_name: str, **options: Any) -> Path:
    """The folder of a checkpoint's config.json. From a Hub repository, its tower's `file_name` is fetched as well.

    Args:
        checkpoint: a folder, a config.json, or a repository on the Hub.
        options: those of `from_pretrained`; `subfolder` and the Hub's own are used.
    """
    subfolder = options.get("subfolder") or ""
    path = Path(checkpoint)
    if path.exists():
        return path.parent if path.is_file() else local_folder(path / subfolder)
    hub_options: dict[str, Any] = {name: options[name] for name in HUB_OPTIONS if name in options}
    hub_options |= {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    config = cached_file(str(checkpoint), "config.json", subfolder=subfolder, **hub_options)
    for folder in candidate_folders(Path(), tower_name):
        name = (Path(subfolder) / folder / file_name).as_posix()
        if config is not None and cached_file(str(checkpoint), name, **hub_options):
            break
    return Path(config).parent if config is not None else path


def find_vision_config(checkpoint: str | Path, tower_name: str) -> dict[str, Any]:
    """The vision tower's shape: from its config.json, or inferred from the weights and OpenAI's known towers.

    Raises:
        ValueError: its config.json is not usable, or there is none and name and weights do not determine the shape.
    """
    file = find_tower_file(checkpoint, tower_name, "config.json")
    if file is not None:
        return read_vision_config(file)
    shapes = weight_shapes(Path(checkpoint)) if str(checkpoint) else {}
    found = infer_vision_config(tower_name, shapes)
    if found is None:
        folder = tower_folder(Path(checkpoint), tower_name)
        raise ValueError(f"the shape of the vision tower {tower_name!r} is unknown: put its config.json into {folder}")
    return found


def read_vision_config(file: Path) -> dict[str, Any]:
    """Read a tower's config.json: that of a full CLIP model, or of its vision model alone."""
    values = read_object(file)
    vision = values.get("vision_config", values)
    if not isinstance(vision, dict):
        raise ValueError(f"{file} is not the configuration of a vision tower")
    return vision


def weight_shapes(folder: Path) -> dict[str, Sequence[int]]:
    """Names and shapes of the vision tower's tensors in a checkpoint, from the headers. Skips corrupt files."""
    shapes: dict[str, Sequence[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        if not file.is_file():  # opening a FIFO would wait
            continue
        try:
            with safe_open(file, "pt") as tensors:
                names = [name for name in tensors.keys() if name.startswith(WEIGHTS_PREFIX)]  # noqa: SIM118
                shapes |= {name: tensors.get_slice(name).get_shape() for name in names}
        except (OSError, SafetensorError):
            continue
    return shapes


def infer_vision_config(tower_name: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    """A tower's configuration from its name and the shapes of its weights, or None if they do not determine it.

    Weights do not reveal the number of heads or the activation. A tower with the shape of the published one is taken
    to be that one; any other tower must have an OpenAI name.
    """
    parts = name_parts(tower_name) or [""]
    known = KNOWN_TOWERS.get(parts[-1])
    dims = tower_dims(shapes)
    if dims is None:
        return None if known is None else dict(known)
    if dims.items() <= CLIP_VIT_LARGE_336.items():
        return dict(CLIP_VIT_LARGE_336)
    is_openai = known is not None or "openai" in parts or parts[-1].startswith("clip-vit-")
    if not is_openai or dims["hidden_size"] % HEAD_SIZE:
        return None
    heads = dims["hidden_size"] // HEAD_SIZE
    return CLIP_VIT_LARGE_336 | dims | {"num_attention_heads": heads}


def tower_dims(shapes: Mapping[str, Sequence[int]]) -> dict[str, int] | None:
    """The dimensions that the weights of a tower reveal, or None if they are missing or not CLIP's."""
    try:
        hidden_size, _, patch_size, _ = shapes[f"{WEIGHTS_PREFIX}embeddings.patch_embedding.weight"]
        num_positions, _ = shapes[f"{WEIGHTS_PREFIX}embeddings.position_embedding.weight"]
        intermediate_size, _ = shapes[f"{WEIGHTS_PREFIX}encoder.layers.0.mlp.fc1.weight"]
    except (KeyError, ValueError):
        return None
    return {
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": sum(name.endswith(".layer_norm1.weight") for name in shapes),
        "image_size": isqrt(num_positions - 1) * patch_size,  # one position is the class token's
        "patch_size": patch_size,
    }
