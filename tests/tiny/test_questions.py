"""Questions: the answers come from the scene, and no question has two correct answers."""

import random
import re

import pytest

from longva_demo.tiny.clips import DIRECTIONS, colour_change, motion, needles, order, still
from longva_demo.tiny.questions import NOTHING, SceneQuestions, ask_scene, describe
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES, SYMBOLS, Mix, random_scene
from tools.tiny.gallery import backdrop, make
from tools.tiny.out_of_scope_questions import out_of_scope_question

SCENE = backdrop(
    "black",
    make("star", "red", "top left", "5"),
    make("star", "blue", "right"),
    make("circle", "red", "bottom", "K"),
)


def asked(weights: dict[str, float], seed: int = 0, count: int = 40) -> dict[str, str]:
    rng = random.Random(seed)
    found = [one for _ in range(count) for one in ask_scene(rng, SCENE, 3, weights)]
    return {one.question.lower().rstrip("?."): one.answer for one in found}


def test_answers_about_a_known_scene():
    everything = asked({"colour": 1, "shape": 1, "symbol": 1, "position": 1, "count_all": 1}, count=300)
    assert everything["what number is on the red star"] == "The number is 5."
    assert everything["where is the circle"] == "It is at the bottom."
    assert everything["how many shapes are there"] == "I count 3."
    assert everything["what shape is the blue thing"] == "It is a star."


def test_ambiguous_names_are_never_used():
    """There are two stars and two red things, so neither name is unique."""
    rng = random.Random(1)
    for _ in range(300):
        makers = SceneQuestions(rng, SCENE)
        for made in (makers.colour(), makers.symbol(), makers.position()):
            if made is not None:
                text = made.question.lower()
                assert "the star" not in text
                assert not re.search(r"the red (thing|shape|one|object)\b", text)


def test_yes_and_no_both_occur():
    both = asked({"is_there": 1, "is_it": 1, "is_symbol_there": 1}, count=3000)
    assert both["is there a red star"] == "Yes."
    assert both["is there a blue circle"] == "No."
    assert set(both.values()) == {"Yes.", "No."}


def test_description_names_everything():
    assert describe(SCENE) == (
        "I see a red star with 5 at the top left, a blue star at the right, a red circle with K at the bottom "
        "on a black background."
    )


def test_same_seed_same_questions():
    assert asked({"colour": 1, "symbol": 1}, seed=4) == asked({"colour": 1, "symbol": 1}, seed=4)


@pytest.mark.parametrize("seed", range(30))
def test_things_move_in_the_direction_of_the_answer(seed):
    clip = motion(random.Random(seed), Mix(), 12, 12)
    first, last = clip.frames[0].things[0], clip.frames[-1].things[0]
    for one in clip.asked:
        if one.task == "direction":
            step_x, step_y = DIRECTIONS[one.answer.removeprefix("It moves ").rstrip(".")]
            assert (last.x - first.x) * step_x + (last.y - first.y) * step_y > 0.4


@pytest.mark.parametrize("seed", range(30))
def test_start_and_end_colours(seed):
    clip = colour_change(random.Random(seed), Mix(), 8, 12)
    answers = {one.task: one.answer for one in clip.asked}
    for task, frame in (("start colour", clip.frames[0]), ("end colour", clip.frames[-1])):
        if task in answers:
            assert answers[task] == f"It is {COLOUR_NAMES[frame.things[0].colour]}."


@pytest.mark.parametrize("seed", range(30))
def test_order_matches_the_frames(seed):
    clip = order(random.Random(seed), Mix(), 8, 6)
    shapes = [SHAPES[thing.shape] for frame in clip.frames for thing in frame.things]
    for one in clip.asked:
        named = [shape for shape in SHAPES if re.search(rf"\b{shape}\b", one.question.lower())]
        if one.task != "order" or "before" in one.question:
            continue
        wanted = min if "first" in one.question or "start" in one.question else max
        among = named or shapes
        where = {shape: shapes.index(shape) for shape in among}
        assert one.answer == f"The {wanted(where, key=where.get)}."


@pytest.mark.parametrize(("num_frames", "count"), [(16, 1), (64, 8), (256, 20)])
def test_answers_about_needles_match_the_frames(num_frames, count):
    clip = needles(random.Random(num_frames), num_frames, count, count)
    assert len(clip.frames) == num_frames
    things = [thing for frame in clip.frames for thing in frame.things]
    for one in clip.asked:
        match = re.search(rf"({'|'.join(COLOUR_NAMES)}) ({'|'.join(SHAPES)})", one.question)
        if one.task == "needle" and match:
            marked = [
                SYMBOLS[thing.symbol]
                for thing in things
                if (COLOUR_NAMES[thing.colour], SHAPES[thing.shape]) == match.groups() and thing.symbol < len(DIGITS)
            ]
            assert {f"The number is {symbol}." for symbol in marked} == {one.answer}


@pytest.mark.parametrize("seed", range(5))
def test_twenty_questions_about_one_needle_or_order(seed):
    rng = random.Random(seed)
    for clip in (needles(rng, 32, 1, 20, rounds=14), order(rng, Mix(), 12, 20, rounds=8)):
        assert len({one.question for one in clip.asked}) == len(clip.asked) == 20
    numbers = {one.answer for one in needles(rng, 32, 1, 20, rounds=14).asked if one.task == "needle"}
    assert len(numbers) == 1


def test_missing_things_are_not_in_the_scene():
    rng = random.Random(9)
    found = 0
    for _ in range(300):
        scene = random_scene(rng)
        made = SceneQuestions(rng, scene).missing()
        if made is None:
            continue
        found += 1
        assert made.answer == NOTHING
        there = {f"{COLOUR_NAMES[t.colour]} {SHAPES[t.shape]}" for t in scene.things if t.shape < len(SHAPES)}
        assert not any(name in made.question for name in there)
    assert found > 100


def test_still_clips_do_not_move():
    clips = [still(random.Random(seed), Mix(), 4, 3) for seed in range(40)]
    assert any(one.answer == "It does not move." for clip in clips for one in clip.asked)
    assert all(len(set(clip.frames)) == 1 for clip in clips)


def test_out_of_scope_questions_vary():
    rng = random.Random(2)
    assert len({out_of_scope_question(rng) for _ in range(500)}) > 300
