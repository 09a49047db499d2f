"""Corruptions of scenes: each changes the frame and has no lasting effect on drawing."""

import random

import numpy as np
import pytest

from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import Mix, random_scene
from tools.tiny.altered import ALTERATIONS, each_alteration

SHAPES = {"144 pixels high": (144, 144), "1,080 pixels high": (1080, 1080), "black bars left and right": (336, 596)}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_each_corruption_changes_only_its_frame(name: str) -> None:
    scene = random_scene(random.Random(3), Mix(word_share=1.0), count=2)
    plain = draw(scene, 336)
    [frame] = ALTERATIONS[name].frame(scene)
    assert frame.shape == (*SHAPES.get(name, (336, 336)), 3)
    if frame.shape == plain.shape:
        difference = np.abs(frame.astype(int) - plain).mean()
        assert 0.5 < difference < 100, difference
    assert np.array_equal(draw(scene, 336), plain)


def test_all_kinds_get_the_same_scenes() -> None:
    first = [rng.random() for _, _, rng in each_alteration(random.Random(1))]
    assert len(first) == len(ALTERATIONS)
    assert len(set(first)) == 1
