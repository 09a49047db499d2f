"""Bounds of the numbers in a checkpoint's files. A stranger's could hang or fill the memory, long before an error."""

from collections.abc import Iterable, Mapping
from typing import Any

from longva_demo.errors import short

Bounds = Mapping[str, tuple[float, float]]

# Of config.json; LongVA-7B's values are far inside. All but those in OPTIONAL must not be null.
INTEGERS: Bounds = {
    "vocab_size": (1, 2**21),
    "hidden_size": (1, 2**16),
    "intermediate_size": (1, 2**20),
    "num_hidden_layers": (1, 512),
    "num_attention_heads": (1, 1024),
    "num_key_value_heads": (1, 1024),
    "head_dim": (1, 1024),
    "max_position_embeddings": (1, 2**27),
    "image_token_id": (0, 2**21),
}
FLOATS: Bounds = {
    "rope_theta": (1, 1e15),
    "rms_norm_eps": (0, 1),
    "initializer_range": (0, 1),
    "attention_dropout": (0, 1),
}
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
# Of the vision tower's configuration.
TOWER_INTEGERS: Bounds = {
    "hidden_size": (1, 2**14),
    "intermediate_size": (1, 2**16),
    "projection_dim": (1, 2**16),
    "num_hidden_layers": (1, 256),
    "num_attention_heads": (1, 256),
    "num_channels": (3, 3),
    "image_size": (1, 4096),
    "patch_size": (1, 4096),
}
TOWER_FLOATS: Bounds = {
    "layer_norm_eps": (0, 1),
    "attention_dropout": (0, 1),
    "initializer_range": (0, 1),
    "initializer_factor": (0, 100),
}
# Of processor_config.json.
PROCESSOR_INTEGERS: Bounds = {
    "height": (1, 4096),
    "width": (1, 4096),
    "patch_size": (1, 4096),
    "pool_stride": (1, 4096),
}
OPTIONAL = {"num_key_value_heads", "head_dim", "rope_theta", "image_token_id"}
MAX_PINPOINTS = 1_000  # LongVA-7B has 150
MAX_GRIDS = 256  # of one image; LongVA-7B has 49
MAX_PINPOINT_LETTERS = 20_000


def check_numbers(values: Mapping[str, Any], integers: Bounds, floats: Bounds, place: str) -> None:
    """Check the numbers that `values` has. `place` names them in the message, such as "config.json".

    Raises:
        ValueError: one is of another type, not finite, or outside its bounds.
    """
    for bounds, types, kind in ((integers, (int,), "an integer"), (floats, (int, float), "a number")):
        for name, (lowest, highest) in bounds.items():
            value = values.get(name, lowest)
            if value is None and name in OPTIONAL:
                continue
            if type(value) not in types or not lowest <= value <= highest:
                allowed = f"{kind} from {lowest:,} to {highest:,}" if lowest < highest else f"{lowest}"
                raise ValueError(f"{place} has {name} = {short(value)}; it must be {allowed}")


def check_levels(values: Mapping[str, Any], place: str) -> None:
    """Check image_mean, image_std and reducing_gap, as far as `values` has them.

    Raises:
        ValueError: one is of another type, not finite, or outside its bounds.
    """
    for name, lowest in (("image_mean", -1e3), ("image_std", 1e-3)):
        levels = values.get(name, (1, 1, 1))
        if not isinstance(levels, (list, tuple)) or len(levels) != 3 or not are_between(levels, lowest, 1e3):
            raise ValueError(f"{place} has {name} = {short(levels)}; it must be three numbers from {lowest:g} to 1,000")
    gap = values.get("reducing_gap")
    if gap is not None and not are_between([gap], 1, 100):
        raise ValueError(f"{place} has reducing_gap = {short(gap)}; it must be a number from 1 to 100")


def are_between(values: Iterable[Any], lowest: float, highest: float) -> bool:
    """Whether all are finite numbers within the bounds.

    >>> are_between([1, 2.5], 0, 3), are_between([float("nan")], 0, 3), are_between([True], 0, 3)
    (True, False, False)
    """
    return all(type(value) in (int, float) and lowest <= value <= highest for value in values)
