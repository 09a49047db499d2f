"""The alignment with pictures: collages as UniRes cuts them, no two frames of a video, and an adapter that exports."""

import random
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import Mix, random_scene
from longva_demo.unires import split_image
from tools.tiny.align import COLLAGES, Alignment, PictureTokens, align, aligned_vision, as_collage, draw_collage
from tools.tiny.ask import WEIGHTS
from tools.tiny.episodes import EpisodeKind, EpisodeSource, Mixture
from tools.tiny.export import split_checkpoint
from tools.tiny.network import IMAGE_SIZE, VisionModel, build_language_model, encode
from tools.tiny.text import Encoder, train_tokenizer

PICTURE: Mixture = {"picture": EpisodeKind(1.0, 2)}
SMALL_COLLAGE: Mixture = {"collage of 4": replace(COLLAGES["collage of 4"], batch=1)}
TEXT: Mixture = {"text picture": EpisodeKind(1.0, 1, as_text=True)}
ALIGNMENT = Alignment("text", (PICTURE, SMALL_COLLAGE, TEXT), 2, 3, lr=1e-3, adapter_lr=2e-3, encoded_share=0.5)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(count=60)


@pytest.fixture(scope="module")
def vision() -> VisionModel:
    vision = VisionModel()
    vision.load_state_dict(split_checkpoint(WEIGHTS)[0])
    return vision


@pytest.fixture
def language_model(tokenizer):
    torch.manual_seed(1)
    encoder = Encoder(tokenizer)
    return build_language_model(tokenizer.get_vocab_size(), encoder.end, encoder.pad, 1).state_dict()


def scenes(count):
    rng = random.Random(count)
    return [random_scene(rng, Mix()) for _ in range(count)]


@pytest.mark.parametrize("grids", sorted({kind.num_frames[0] for kind in COLLAGES.values()}))
def test_unires_cuts_a_collage_into_its_scenes(grids):
    tiles = [draw(scene) for scene in scenes(grids)]
    picture = draw_collage(tiles)
    cut = split_image(picture, IMAGE_SIZE, [picture.size])
    assert np.array_equal(cut[1:], np.stack(tiles))
    assert picture.width <= 2 * picture.height


def test_a_collage_has_the_tokens_of_the_whole_picture_and_of_each_grid(vision):
    shown = scenes(6)
    encoded, codes = (PictureTokens(vision, 1, share)([None, *shown]) for share in (1.0, 0.0))
    assert encoded.shape == codes.shape == (7, 9, 128)
    exact = encode(vision, np.stack([draw(scene) for scene in shown]))
    # Tone and JPEG alter a picture, but its grids stay in order: each is closest to its own scene.
    assert torch.cdist(encoded[1:].flatten(1), exact.flatten(1)).argmin(1).tolist() == list(range(6))
    assert torch.cdist(codes[1:].flatten(1), exact.flatten(1)).argmin(1).tolist() == list(range(6))


def test_nothing_in_the_training_data_is_a_video():
    source = EpisodeSource(4, COLLAGES)
    for _, episodes in islice(iter(source.episodes, None), 12):
        for episode in map(as_collage, episodes):
            assert not episode.frames or (episode.frames[0] is None and len(episode.frames) > 2)


def test_an_alignment_is_repeatable_and_resumes(tmp_path, vision, tokenizer, language_model):
    for folder in ("one", "two"):
        align(tmp_path / folder, "arm", ALIGNMENT, tokenizer, vision, language_model)
    one, two = (torch.load(tmp_path / folder / "arm.pt", weights_only=True) for folder in ("one", "two"))
    for part in ("language_model", "adapter"):
        assert all(torch.equal(value, two[part][key]) for key, value in one[part].items())
    changed = [key for key, value in one["language_model"].items() if not torch.equal(value, language_model[key])]
    assert len(changed) == len(language_model)
    align(tmp_path / "one", "arm", ALIGNMENT, tokenizer, vision, language_model)  # there is nothing left to do
    align(tmp_path / "one", "arm", ALIGNMENT, tokenizer, vision, language_model, steps=3)
    assert torch.load(tmp_path / "one" / "arm.pt", weights_only=True)["optimisers"][0]["done"] == 3


def test_a_frozen_language_model_stays_as_it_is(tmp_path, vision, tokenizer, language_model):
    frozen = replace(ALIGNMENT, lr=0.0, steps=2)
    path = align(tmp_path, "frozen", frozen, tokenizer, vision, language_model)
    saved = torch.load(path, weights_only=True)
    assert all(torch.equal(value, language_model[key]) for key, value in saved["language_model"].items())
    assert not torch.equal(saved["adapter"]["weight"], torch.eye(128))


def test_the_adapter_is_exported_in_the_projector(tmp_path, vision, tokenizer, language_model):
    path = align(tmp_path, "arm", replace(ALIGNMENT, adapter_lr=0.1), tokenizer, vision, language_model)
    adapter = torch.load(path, weights_only=True)["adapter"]
    frames = np.stack([draw(scene) for scene in scenes(3)])
    tokens = encode(vision, frames)
    expected = tokens @ adapter["weight"].T + adapter["bias"]
    assert torch.allclose(encode(aligned_vision(tmp_path, "arm", vision), frames), expected, atol=1e-4)
    assert not torch.allclose(expected, tokens, atol=0.1)
