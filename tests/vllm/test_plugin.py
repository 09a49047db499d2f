"""The parts of the plugin that need no vLLM: its pixels and its configuration are those of the model here."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longva_demo.model import LongVAConfig
from longva_demo.model.config import CLIP_MEAN, CLIP_STD
from longva_demo.model.hub import TINY_FOLDER
from longva_demo.model.pixels import grey_levels, square_frames
from longva_demo.unires import split_image
from longva_vllm import config as plugin_config
from longva_vllm import pixels
from longva_vllm.config import LongVAConfig as PluginConfig
from tests.model.golden import CHECKPOINTS
from tests.model.test_published import DPO

PINPOINTS = [(w * 56, h * 56) for w in range(1, 8) for h in range(1, 8) if 1 < w * h <= 12]


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("gap", [None, 2.0])
@pytest.mark.parametrize("size", [(640, 360), (360, 640), (84, 84), (84, 200), (31, 27), (1921, 1081)])
def test_frames_are_the_same(size: tuple[int, int], gap: float | None) -> None:
    frame = noise(*size)
    [expected] = square_frames(frame[None], 84, gap)
    assert np.array_equal(pixels.square_frame(frame, 84, gap), expected)


@pytest.mark.parametrize("size", [(640, 360), (31, 200), (56, 112), (900, 150), (1, 1)])
def test_pictures_are_the_same(size: tuple[int, int]) -> None:
    image = Image.fromarray(noise(*size))
    assert np.array_equal(pixels.split_picture(image, 56, PINPOINTS), split_image(image, 56, PINPOINTS)[1:])


def test_grids_that_are_joined_again_are_the_same() -> None:
    """What the page sends: the grids as one picture, of which UniRes makes the same grids."""
    grids = split_image(Image.fromarray(noise(900, 150)), 56, PINPOINTS)[1:]
    columns = pixels.best_resolution((900, 150), PINPOINTS)[0] // 56
    joined = grids.reshape(-1, columns, 56, 56, 3).swapaxes(1, 2).reshape(-1, columns * 56, 3)
    assert np.array_equal(pixels.split_picture(Image.fromarray(joined), 56, PINPOINTS), grids)


def test_grey_levels_are_the_same() -> None:
    assert np.array_equal(pixels.grey_levels(CLIP_MEAN, CLIP_STD), grey_levels(CLIP_MEAN, CLIP_STD))


@pytest.mark.parametrize("folder", [TINY_FOLDER, *CHECKPOINTS], ids=str)
def test_the_configuration_is_the_same(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text("utf-8"))
    # As AutoConfig does, which vLLM uses.
    here, there = LongVAConfig.from_pretrained(folder), PluginConfig.from_dict(values, name_or_path=str(folder))
    names = ("tokens_per_frame", "tokens_per_grid", "hidden_size", "vocab_size", "num_key_value_heads")
    assert [getattr(there, name) for name in names] == [getattr(here, name) for name in names]
    assert there.max_position_embeddings == here.context_length
    assert there.pinpoints == here.grid_pinpoints
    vision = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
    assert [getattr(there.vision_config, name) for name in vision] == [
        getattr(here.vision_config, name) for name in vision
    ]


def test_the_published_checkpoint_has_its_whole_context() -> None:
    """Its config.json says 32,768, and its vision tower is not in it."""
    values = LongVAConfig(**DPO, max_position_embeddings=32_768).to_diff_dict()
    config = PluginConfig.from_dict(values)
    assert config.max_position_embeddings == config.model_max_length == 224_000
    assert (config.tokens_per_frame, config.vision_config.num_hidden_layers) == (144, 24)
    assert (config.pixel_mean, config.reducing_gap) == (list(CLIP_MEAN), None)
    assert PluginConfig.from_dict(values | {"rope_theta": 1e6}).max_position_embeddings == 32_768


def test_an_unknown_vision_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="the shape of the vision tower 'me/mine' is unknown"):
        PluginConfig(mm_vision_tower="me/mine")


def test_examples_in_docstrings() -> None:
    for module in (plugin_config, pixels):
        result = doctest.testmod(module)
        assert (result.attempted > 0, result.failed) == (True, 0)
