"""Every question of the gallery, asked through the product with the bundled model, has its true answer."""

from pathlib import Path

import pytest
from PIL import Image

from longva_demo.chat import ChatSession, Engine, Sampling
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.ui.gallery import Example, make_gallery, read_examples
from longva_demo.ui.pages import Look
from tests.ui.conftest import Visit

EXAMPLES = read_examples()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load("tiny"), Settings())


def test_there_are_six_clips_and_a_picture() -> None:
    assert sum(not example.is_picture for example in EXAMPLES) >= 6
    assert sum(example.is_picture for example in EXAMPLES) >= 1
    for example in EXAMPLES:
        assert example.path.stat().st_size < 400_000
        assert len(example.questions) == len(example.answers) >= 1
        with Image.open(example.thumbnail) as thumbnail:
            assert thumbnail.format == "JPEG"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path.stem)
def test_answers_are_true(engine: Engine, example: Example) -> None:
    session = ChatSession(engine)
    settings = Settings()
    session.look_at(Look(example.path, example.num_frames).open(engine, settings))
    for question, truth in zip(example.questions, example.answers, strict=True):
        list(session.ask(question, Sampling()))
        assert session.turns[-1].answer.strip() == truth, question
        session.clear()  # each question for itself, in whatever order a visitor clicks
    session.close()


def test_answers_are_true_on_the_page(visit: Visit) -> None:
    example = EXAMPLES[0]
    visit.pick(example.title)
    for number, truth in enumerate(example.answers):
        visit.page.click(f".chip >> nth={number}")
        assert visit.wait_for_answer(number + 1) == truth


def test_no_folder_no_gallery(tmp_path: Path) -> None:
    assert read_examples(tmp_path) == []
    assert make_gallery([], "gallery").visible is False
