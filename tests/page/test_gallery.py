"""The example gallery: its files, its texts, and a correct answer to every question."""

from pathlib import Path

import pytest
from PIL import Image

from longva_demo.chat import ChatSession, LocalEngine, Sampling
from longva_demo.model import LongVAConfig
from longva_demo.page.components.gallery import EXAMPLES_FOLDER, GROUPS, Example, make_gallery, read_examples
from longva_demo.page.i18n import CATALOGUES
from longva_demo.page.selection import Selection
from longva_demo.settings import Settings
from longva_demo.tiny.questions import REFUSAL
from longva_demo.unires import best_resolution
from longva_demo.video import probe

EXAMPLES = read_examples()
ENGLISH = CATALOGUES["en"]


def members(group: str) -> list[Example]:
    return [example for example in EXAMPLES if example.group == group]


def test_each_group_has_its_examples() -> None:
    assert [example.group for example in EXAMPLES] == [name for name in GROUPS for _ in members(name)]
    assert all(len(members(name)) >= 2 for name in GROUPS)
    assert all(example.is_picture == (example.group == "images") for example in EXAMPLES)
    assert max(probe(example.path).duration_seconds for example in members("long")) >= 600
    assert {answer for example in members("limits") for answer in example.answers} == {REFUSAL}


def test_the_catalogue_matches_the_examples() -> None:
    """examples.json is in English. Texts that change there must be translated again."""
    for example in EXAMPLES:
        name = example.path.stem
        assert ENGLISH[f"gallery.{name}"] == example.title
        assert ENGLISH[f"gallery.{name}_shows"].replace("\u202f", ",") == example.shows


def test_files_are_small_and_previews_move() -> None:
    assert sum(file.stat().st_size for file in EXAMPLES_FOLDER.rglob("*") if file.is_file()) <= 1_500_000
    for example in EXAMPLES:
        assert example.path.stat().st_size < 400_000
        assert len(example.questions) == len(example.answers) >= 2
        with Image.open(example.thumbnail) as thumbnail:
            assert thumbnail.format == "JPEG"
        assert (example.preview is None) == example.is_picture
        if example.preview:
            assert example.preview.stat().st_size <= 40_000
            with Image.open(example.preview) as preview:
                assert preview.format == "WEBP"
                # Pillow stores equal neighbours once, as in the clip of three stills.
                assert 3 <= preview.n_frames <= 12  # type: ignore[attr-defined]


def test_pictures_have_the_number_of_tiles_on_their_cards() -> None:
    """The cards give the numbers for LongVA-7B."""
    pinpoints, pieces = LongVAConfig().grid_pinpoints, {}
    for example in members("images"):
        with Image.open(example.path) as picture:
            width, height = best_resolution(picture.size, pinpoints)
        pieces[example.path.stem] = (width // 336, height // 336)
    assert pieces["sky"] == (7, 7)
    assert pieces["wide"] == (6, 3)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path.stem)
def test_answers_are_correct(engine: LocalEngine, example: Example) -> None:
    session = ChatSession(engine)
    settings = Settings()
    session.set_source(Selection(example.path, example.num_frames).open_source(engine, settings))
    for question, truth in zip(example.questions, example.answers, strict=True):
        list(session.ask(question, Sampling()))
        assert session.turns[-1].answer.strip() == truth, question
        session.clear()  # visitors ask the questions in any order
    session.close()


def test_there_is_no_gallery_without_its_folder(tmp_path: Path) -> None:
    assert read_examples(tmp_path) == []
    assert make_gallery([], "gallery").value == []
