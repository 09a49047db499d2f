"""Scenes: the same seed gives the same pictures, and the ground truth matches the pixels."""

import random

import numpy as np
import pytest

from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import (
    BACKGROUND_NAMES,
    BACKGROUNDS,
    CELL_NAMES,
    COLOUR_NAMES,
    COLOURS,
    NO_SHAPE,
    NO_SYMBOL,
    OUT_OF_SCOPE,
    SHAPES,
    VISIBLE_COLOURS,
    Mix,
    cells_of,
    random_scene,
)
from tools.tiny.gallery import backdrop, make
from tools.tiny.out_of_scope import HELD_OUT_KINDS, TRAINED_KINDS, draw_out_of_scope


def scenes(seed: int, count: int, mix: Mix | None = None) -> list:
    rng = random.Random(seed)
    return [random_scene(rng, mix or Mix()) for _ in range(count)]


def test_same_seed_same_scene_same_pixels():
    first, second = scenes(5, 20), scenes(5, 20)
    assert first == second
    assert all(np.array_equal(draw(one), draw(two)) for one, two in zip(first, second, strict=True))
    assert scenes(6, 20) != first


def test_pixels_show_the_named_colours():
    """The centre of a thing without a symbol is closest to its own colour, an empty corner to the background."""
    mix = Mix(symbol_share=0, bare_share=0, word_share=0, count_weights=(0, 1), large_share=0, spread=0.3)
    palette = np.array(list(COLOURS.values()), dtype=float)
    backs = np.array(list(BACKGROUNDS.values()), dtype=float)
    for scene in scenes(1, 200, mix):
        thing, frame = scene.things[0], draw(scene).astype(float)
        pixel = frame[round(thing.y * 84), round(thing.x * 84)]
        assert COLOUR_NAMES[int(((palette - pixel) ** 2).sum(-1).argmin())] == COLOUR_NAMES[thing.colour]
        far = frame[0 if thing.y > 0.5 else 83, 0 if thing.x > 0.5 else 83]
        assert BACKGROUND_NAMES[int(((backs - far) ** 2).sum(-1).argmin())] == BACKGROUND_NAMES[scene.background]


@pytest.mark.parametrize("size", [84, 240])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_thing_is_drawn_in_its_cell(cell, size):
    scene = backdrop("black", make("circle", "white", cell, radius=0.1), gradient=(0, 0))
    bright = draw(scene, size).mean(-1) > 128
    rows, columns = np.nonzero(bright)
    assert CELL_NAMES[int(rows.mean() * 3 / size) * 3 + int(columns.mean() * 3 / size)] == cell
    assert np.isclose(bright.sum() / size**2, np.pi * 0.1**2, rtol=0.1)


def test_shapes_and_symbols_look_different():
    def picture(shape: str, symbol: str = "") -> np.ndarray:
        return draw(backdrop("gray", make(shape, "blue", "centre", symbol, radius=0.3))).astype(int)

    shapes = [picture(shape) for shape in SHAPES]
    digits = [picture("square", digit) for digit in "0123456789"]
    for pictures in (shapes, digits):
        for index, one in enumerate(pictures):
            assert all((np.abs(one - other).max(-1) > 60).sum() > 40 for other in pictures[:index])


def test_ground_truth_of_cells():
    scene = backdrop("navy", make("star", "red", "top right", "5"), make("heart", "white", "bottom"))
    cells = cells_of([scene, None])
    star, heart = CELL_NAMES.index("top right"), CELL_NAMES.index("bottom")
    names = (COLOUR_NAMES.index("red"), SHAPES.index("star"), 5)
    assert tuple(cells.values[0, star, :3]) == names
    assert tuple(cells.values[0, heart, 1:3]) == (SHAPES.index("heart"), NO_SYMBOL)
    empty = [cell for cell in range(9) if cell not in (star, heart)]
    assert (cells.values[0, empty, 1] == NO_SHAPE).all()
    assert (cells.values[0, :, 4] == BACKGROUND_NAMES.index("navy")).all()
    assert (cells.values[1, :, 4] == OUT_OF_SCOPE).all()


def test_things_are_visible_separate_and_inside():
    for scene in scenes(2, 300):
        taken = [thing.cell for thing in scene.things]
        assert len(set(taken)) == len(taken)
        for thing in scene.things:
            assert thing.colour in VISIBLE_COLOURS[scene.background]
            assert 0.5 * thing.radius < thing.x < 1 - 0.5 * thing.radius
        if scene.sign is not None:
            assert all(cell // 3 != scene.sign.row for cell in taken)


@pytest.mark.parametrize("kind", sorted({*TRAINED_KINDS, *HELD_OUT_KINDS}, key=lambda kind: kind.__name__))
def test_out_of_scope_pictures(kind):
    one, again = (draw_out_of_scope(random.Random(3), 84, (kind,)) for _ in range(2))
    assert one.shape == (84, 84, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert one.reshape(-1, 3).std(0).max() > 5
