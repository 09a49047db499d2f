"""Which values of a config.json are supported here: a check before anything is downloaded, built or loaded."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, PreTrainedConfig
from transformers.activations import ACT2FN

from longva_demo.errors import short
from longva_demo.model.bounds import (
    FLOATS,
    INTEGERS,
    MAX_PINPOINT_LETTERS,
    MAX_PINPOINTS,
    TOKENS,
    TOWER_FLOATS,
    TOWER_INTEGERS,
    are_between,
    check_numbers,
)
from longva_demo.model.checkpoint_files import read_object

# The values that are implemented here. A checkpoint with any other value must not load.
SUPPORTED = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch",),
    "mm_patch_merge_type": ("unires",),
    "image_aspect_ratio": ("anyres",),
    "mm_spatial_pool_mode": ("average", "max"),
    # The original builds a resampler but calls it only on another path. SpatialPool in the modes above has no
    # weights; the other kinds belong to models trained with their own resampler.
    "mm_resampler_type": (None, "spatial_pool"),
    "mm_use_im_start_end": (False,),
    "mm_use_im_patch_token": (False,),
    "s2": (False,),  # another vision tower in the original code
}
DTYPES = ("float32", "bfloat16", "float16")
QUANT_METHODS = ("int8_rows", "bitsandbytes", "torchao")  # other methods load kernels or code from the Hub
LAYER_TYPES = ("full_attention", "sliding_attention")
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
TOWER_FIELDS = {*TOWER_INTEGERS, *TOWER_FLOATS, "hidden_act"}
# Keys of a config.json that transformers would act upon: it would load kernels and files by these names, make as many
# labels as it is told, or have one of its methods replaced. Of its attributes, only those in DATA are read.
DATA = {"architectures", "dtype", "model_type", "rope_scaling", "torch_dtype", "transformers_version"}
IGNORED_KEYS = {*dir(PreTrainedConfig), "attn_implementation", "experts_implementation", "transformers_weights"} - DATA


def check_supported(values: Mapping[str, Any]) -> None:
    """Check that a config.json asks only for what is implemented here. Fields it omits have their defaults.

    Raises:
        ValueError: a value is not supported.
    """
    for name, allowed in SUPPORTED.items():
        if name in values and values[name] not in allowed:
            known = " or ".join("null" if value is None else repr(value) for value in allowed)
            raise ValueError(f"config.json has {name} = {short(values[name])}; only {known} is supported")
    stride = values.get("mm_spatial_pool_stride", 2)
    if type(stride) is not int or stride < 1:
        raise ValueError(f"config.json has mm_spatial_pool_stride = {short(stride)}; it must be 1 or more")
    layer, tower = values.get("mm_vision_select_layer", -2), values.get("mm_vision_tower", "")
    if type(layer) is not int:
        raise ValueError(f"config.json has mm_vision_select_layer = {short(layer)}; it must be an integer")
    if not isinstance(tower, str):
        raise ValueError(f"config.json has mm_vision_tower = {short(tower)}; it must be a string")
    read_pinpoints(values.get("image_grid_pinpoints"))
    check_numbers(values, INTEGERS, FLOATS, "config.json")
    # Small models keep the published ids, which may be outside their vocabulary and are then never used.
    check_tokens(values, int(INTEGERS["image_token_id"][1]), "config.json")
    check_activation(values, "config.json")
    for name in ("dtype", "torch_dtype"):
        dtype = values.get(name)
        if dtype is not None and str(dtype).removeprefix("torch.") not in DTYPES:
            raise ValueError(f"config.json has {name} = {short(dtype)}; it must be one of {', '.join(DTYPES)}")
    layers, num_layers = values.get("layer_types"), values.get("num_hidden_layers")
    if layers is not None:
        is_right = isinstance(layers, list) and all(layer in LAYER_TYPES for layer in layers)
        if not is_right or len(layers) != (num_layers or len(layers)):
            raise ValueError(f"config.json has layer_types = {short(layers)}; it must have one of each layer")
    for name in ("rope_scaling", "rope_parameters"):
        check_rope(name, values.get(name))
    quant = values.get("quantization_config")
    method = quant_method(quant) if isinstance(quant, dict) else quant
    if method is not None and method not in QUANT_METHODS:
        known = ", ".join(QUANT_METHODS)
        what = f"config.json has quantization_config = {short(quant)}"
        raise ValueError(f"{what}; its quant_method must be one of {known}")


def check_rope(name: str, rope: Any) -> None:
    """Raises ValueError if a rotary position embedding is of an unknown type, or has numbers out of bounds."""
    if rope is None:
        return
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if not isinstance(rope, dict) or kind not in ROPE_TYPES:
        raise ValueError(f"config.json has {name} = {short(rope)}; its type must be one of {', '.join(ROPE_TYPES)}")
    numbers = [value for value in rope.values() if type(value) in (int, float)]
    if not are_between(numbers, 0, 1e15):
        raise ValueError(f"config.json has {name} = {short(rope)}; its numbers must be from 0 to 1e15")


def quant_method(values: Mapping[str, Any]) -> object:
    """The method of a `quantization_config`. Old ones of bitsandbytes do not name it."""
    is_old = values.get("load_in_4bit") or values.get("load_in_8bit")
    return values.get("quant_method", "bitsandbytes" if is_old else False)


def check_tokens(values: Mapping[str, Any], vocab_size: int, place: str) -> None:
    """Check that the special tokens are ids of the vocabulary.

    Raises:
        ValueError: one is not.
    """
    for name in TOKENS:
        ids = values.get(name)
        for token in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if type(token) is not int or not 0 <= token < vocab_size:
                raise ValueError(f"{place} has {name} = {short(ids)}; it must be from 0 to {vocab_size - 1:,}")


def check_generation(folder: Path) -> None:
    """Check what the demo uses of a checkpoint's generation_config.json.

    Raises:
        ValueError: a value is not usable.
    """
    file = folder / "generation_config.json"
    values = read_object(file) if file.exists() else {}
    vocab_size = read_object(folder / "config.json").get("vocab_size", INTEGERS["vocab_size"][1])
    check_tokens(values, vocab_size, file.name)
    check_numbers(values, {}, {"repetition_penalty": (0.01, 100)}, file.name)


def check_activation(values: Mapping[str, Any], place: str) -> None:
    """Raises ValueError if `hidden_act` is not an activation function of transformers."""
    name = values.get("hidden_act", "silu")
    if not isinstance(name, str) or name not in ACT2FN:
        raise ValueError(f"{place} has hidden_act = {short(name)}; it must be an activation such as silu or quick_gelu")


def check_vision_config(values: Any) -> None:
    """Check a vision tower's configuration.

    Raises:
        ValueError: a value is not usable.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"config.json has vision_config = {short(values)}; it must be an object")
    place = "the vision tower's configuration"
    check_numbers(values, TOWER_INTEGERS, TOWER_FLOATS, place)
    check_activation(values, place)
    names = ("hidden_size", "num_attention_heads")
    width, heads = (values.get(name, getattr(CLIPVisionConfig, name)) for name in names)
    if width % heads:
        raise ValueError(f"{place} has hidden_size = {width}, which its num_attention_heads = {heads} do not divide")


def without_instructions(values: Mapping[str, Any]) -> dict[str, Any]:
    """The data in a config.json, without the keys that transformers would act upon."""
    kept = {name: value for name, value in values.items() if name not in IGNORED_KEYS}
    if isinstance(vision := kept.get("vision_config"), dict):
        kept["vision_config"] = {name: value for name, value in vision.items() if name in TOWER_FIELDS}
    return kept


def read_pinpoints(points: Any) -> list[tuple[int, int]]:
    """Parse (width, height) pairs in pixels from a list, or from a string that holds one.

    >>> read_pinpoints("[(336, 672), (672, 336)]")
    [(336, 672), (672, 336)]

    Raises:
        ValueError: `points` is neither.
    """
    try:
        is_text = isinstance(points, str) and len(points) <= MAX_PINPOINT_LETTERS
        pairs = ast.literal_eval(points) if is_text else points
        pairs = [(width, height) for width, height in pairs or []]
        if len(pairs) <= MAX_PINPOINTS and all(type(side) is int and side > 0 for pair in pairs for side in pair):
            return pairs
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    raise ValueError(f"config.json has image_grid_pinpoints = {short(points)}; use pairs of pixels, [[336, 672]]")
