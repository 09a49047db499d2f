"""Every difference between the published config.json files, and between them and ours, on a tiny checkpoint.

A key that changes nothing in what is computed gives equal logits and answers. Any other is refused in one line.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from longva_demo.model import load
from longva_demo.model.config import default_pinpoints
from tests.model.test_published import (
    DPO,
    DPO_PINPOINTS,
    TRAINING,
    A,
    assert_same,
    copy_a,
    fail_from_hub,
    failure,
    outputs_of,
)
from tests.model.test_published import plain as plain  # the fixture

ABSENT = "absent"  # remove the key
POOL = ("mm_spatial_pool_stride", "mm_spatial_pool_mode", "mm_spatial_pool_out_channels")
ALL_PINPOINTS = default_pinpoints(56)  # 1 to 49 grids, as in LongVA-7B
LONGVA_7B: dict[str, Any] = {
    **dict.fromkeys(POOL, ABSENT),
    **TRAINING,
    "mm_resampler_type": None,
    "image_grid_pinpoints": ALL_PINPOINTS,
    "tokenizer_model_max_length": 32_768,
}
LONGVA_7B_DPO: dict[str, Any] = {
    **TRAINING,
    **DPO,
    "image_grid_pinpoints": DPO_PINPOINTS,
    "tokenizer_model_max_length": 32_768,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "resampler null": {"mm_resampler_type": None},
    "resampler absent": {"mm_resampler_type": ABSENT},
    "resampler spatial_pool": {"mm_resampler_type": "spatial_pool"},
    "pool absent": dict.fromkeys(POOL, ABSENT),
    "pool of DPO": DPO,
    "pool of another width": DPO | {"mm_spatial_pool_out_channels": 7},
    "pinpoints, all": {"image_grid_pinpoints": ALL_PINPOINTS},
    "pinpoints, all, as text": {"image_grid_pinpoints": str([tuple(pair) for pair in ALL_PINPOINTS])},
    "pinpoints of DPO": {"image_grid_pinpoints": DPO_PINPOINTS},
    "pinpoints of DPO, as text": {"image_grid_pinpoints": str([tuple(pair) for pair in DPO_PINPOINTS])},
    "pinpoints absent": {"image_grid_pinpoints": ABSENT},
    "length 32,768": {"tokenizer_model_max_length": 32_768},
    "length shorter than the prompt": {"tokenizer_model_max_length": 8},
    "length absent": {"tokenizer_model_max_length": ABSENT},
    "cache off": {"use_cache": False},
    "position skipping, of a training": {"use_pos_skipping": True},
    "s2 off": {"s2": False},
    **{f"training: {name}": {name: value} for name, value in TRAINING.items()},
    "all of 7B": LONGVA_7B,
    "all of 7B-DPO and 7B-TPO": LONGVA_7B_DPO,
}


def change_a(folder: Path, changes: dict[str, Any]) -> Path:
    checkpoint = copy_a(folder, **changes)
    file = checkpoint / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in values.items() if value != ABSENT}))
    return checkpoint


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_what_changes_nothing_loads_and_gives_equal_logits(
    changes: dict[str, Any], tmp_path: Path, plain: list[torch.Tensor]
) -> None:
    checkpoint = change_a(tmp_path, changes)
    written = json.loads((checkpoint / "config.json").read_text())
    assert all(written.get(name, ABSENT) == value for name, value in changes.items())
    assert_same(outputs_of(load(str(checkpoint), device="cpu")), plain)


@pytest.mark.parametrize(
    "changes",
    [{"mm_spatial_pool_stride": 4}, {"mm_spatial_pool_mode": "max"}, {"mm_vision_select_layer": -1}],
    ids=str,
)
def test_what_changes_the_result_is_not_ignored(
    changes: dict[str, Any], tmp_path: Path, plain: list[torch.Tensor]
) -> None:
    """Supported values other than the published ones: the comparison above can fail."""
    ours = outputs_of(load(str(change_a(tmp_path, changes)), device="cpu"))
    assert ours[0].shape != plain[0].shape or not torch.allclose(ours[0], plain[0], atol=1e-3)


ONLY_FALSE = "only False is supported"
UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    *(
        ({"mm_resampler_type": kind}, f"mm_resampler_type = '{kind}'; only null or 'spatial_pool' is supported")
        for kind in ("perceiver", "qformer", "masked_drop")
    ),
    (
        DPO | {"mm_spatial_pool_mode": "conv"},
        "mm_spatial_pool_mode = 'conv'; only 'average' or 'max' is supported",
    ),
    ({"mm_spatial_pool_stride": 0}, "mm_spatial_pool_stride = 0; it must be 1 or more"),
    ({"mm_spatial_pool_stride": "2"}, "mm_spatial_pool_stride = '2'; it must be 1 or more"),
    ({"mm_vision_select_layer": None}, "mm_vision_select_layer = None; it must be an integer"),
    ({"mm_vision_tower": ["clip"]}, "mm_vision_tower = ['clip']; it must be a string"),
    ({"mm_projector_type": "linear"}, "mm_projector_type = 'linear'; only 'mlp2x_gelu' is supported"),
    ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature = 'cls_patch'; only 'patch' is supported"),
    ({"mm_patch_merge_type": "flat"}, "mm_patch_merge_type = 'flat'; only 'unires' is supported"),
    ({"image_aspect_ratio": "pad"}, "image_aspect_ratio = 'pad'; only 'anyres' is supported"),
    ({"image_aspect_ratio": "anyres_max_9"}, "image_aspect_ratio = 'anyres_max_9'; only 'anyres' is supported"),
    ({"image_grid_pinpoints": "(1x1),...,(6x6)"}, "image_grid_pinpoints = '(1x1),...,(6x6)'; use pairs of pixels"),
    ({"mm_use_im_start_end": True}, f"mm_use_im_start_end = True; {ONLY_FALSE}"),
    ({"mm_use_im_patch_token": True}, f"mm_use_im_patch_token = True; {ONLY_FALSE}"),
    ({"s2": True}, f"s2 = True; {ONLY_FALSE}"),
    ({"model_type": "llava_llama"}, "a model of type 'llava_llama', not LongVA (llava_qwen)"),
]


@pytest.mark.parametrize(("changes", "message"), UNSUPPORTED, ids=[message for _, message in UNSUPPORTED])
def test_what_changes_the_result_is_refused_before_weights_are_downloaded(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the key, its value, and what is known."""
    checkpoint = copy_a(tmp_path, **changes)
    assert message in failure(checkpoint)
    sent = fail_from_hub(checkpoint, tmp_path, monkeypatch, message)
    assert not [path for path in sent if ".safetensors" in path]


def test_the_plain_checkpoint_is_the_golden_one() -> None:
    assert json.loads((A / "config.json").read_text())["mm_resampler_type"] is None
