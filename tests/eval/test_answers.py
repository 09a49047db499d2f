"""What the plugin for lmms-eval does, without lmms-eval: shared prefills, resuming, errors, several processes."""

from pathlib import Path
from shutil import copy

import pytest
from PIL import Image

from longva_demo.chat import ChatSession, ImageSource, LocalEngine, Sampling
from longva_demo.errors import DemoError
from longva_demo.eval.answers import Answer, Answers, Item, answer_items
from longva_demo.eval.asking import FrameSampling, Part, opened
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMES = FrameSampling(8, "pyav", DecodeLimits())
HEAD = {"test": "lmms-eval", "model": "tiny"}
GREEDY = Sampling(max_new_tokens=32)


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings())


def item(number: int, prompt: str, path: Path | None) -> Item:
    return Item(("task", "test", str(number)), prompt, GREEDY, str(path or ""), lambda: path)


def make_items(folder: Path) -> list[Item]:
    (folder / "broken.mp4").write_bytes(b"not a video")
    return [
        item(0, "What colour is the star?", EXAMPLES / "shapes.mp4"),
        item(1, "What colour is the heart at the end?", EXAMPLES / "change.mp4"),
        item(2, "What do you see?", folder / "broken.mp4"),
        item(3, "What number is on the yellow square?", EXAMPLES / "shapes.mp4"),
        item(4, "What do you see?", None),
    ]


def run(engine: LocalEngine, items: list[Item], answers: Answers) -> list[Answer]:
    found = [event for event in answer_items(engine, FRAMES, items, answers) if isinstance(event, Answer)]
    return sorted(found, key=lambda answer: answer.key)


def test_answers_share_a_prefill_and_errors_stay_errors(engine: LocalEngine, tmp_path: Path) -> None:
    found = run(engine, make_items(tmp_path), Answers(tmp_path / "out", HEAD))
    assert [answer.answer for answer in found[:2]] == ["It is red.", "It is blue."]
    assert [answer.prefilled for answer in found] == [True, True, False, False, True]
    assert (found[2].answer, found[2].num_frames) == ("", 0)
    assert "broken.mp4" in found[2].error
    for answer, path in ((found[3], EXAMPLES / "shapes.mp4"), (found[4], None)):
        with opened(engine, Part(path), FRAMES) as session:
            list(session.ask(answer.prompt, GREEDY))
            assert answer.answer == session.turns[-1].answer.strip()


def test_a_picture_is_loaded_when_it_is_asked_about(engine: LocalEngine, tmp_path: Path) -> None:
    loaded = []

    def load_picture() -> Image.Image:
        loaded.append(1)
        return Image.open(EXAMPLES / "picture.png")

    picture = Item(("task", "test", "0"), "What number is on the heart?", GREEDY, "", load_picture)
    answers = Answers(tmp_path, HEAD)
    assert [answer.answer for answer in run(engine, [picture], answers)] == ["The number is 3."]
    assert run(engine, [picture], Answers(tmp_path, HEAD))[0].answer == "The number is 3."
    assert len(loaded) == 1


def test_several_pictures_are_asked_about_together(engine: LocalEngine, tmp_path: Path) -> None:
    pictures = tuple(Image.open(EXAMPLES / name).convert("RGB") for name in ("picture.png", "sky.png"))
    both = Item(("task", "test", "0"), "What number is on the heart?", GREEDY, "", lambda: pictures)
    [answer] = run(engine, [both], Answers(tmp_path, HEAD))
    with opened(engine, Part(pictures), FRAMES) as session:
        list(session.ask(both.prompt, GREEDY))
        assert answer.answer == session.turns[-1].answer.strip()
        assert answer.num_frames == session.source.num_frames
    assert answer.num_frames == sum(ImageSource(one, engine.processor).num_frames for one in pictures)


def test_known_answers_are_not_asked_again(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes answer a half each; a later one knows all but the error, which may have passed."""
    items = make_items(tmp_path)
    halves = [Answers(tmp_path / "out", HEAD, rank) for rank in (0, 1)]
    first, second = (run(engine, items[rank::2], halves[rank]) for rank in (0, 1))
    copy(EXAMPLES / "shapes.mp4", tmp_path / "broken.mp4")
    asked = []
    ask = ChatSession.ask
    monkeypatch.setattr(ChatSession, "ask", lambda *arguments: asked.append(arguments[1]) or ask(*arguments))
    again = run(engine, items, Answers(tmp_path / "out", HEAD, rank=2))
    assert asked == ["What do you see?"]
    assert [again[position] for position in (0, 1, 3, 4)] == [first[0], second[0], second[1], first[2]]
    assert not again[2].error
    assert again[2].answer


def test_another_prompt_or_sampling_is_asked(engine: LocalEngine, tmp_path: Path) -> None:
    answers = Answers(tmp_path, HEAD)
    [first] = run(engine, [item(0, "What colour is the star?", EXAMPLES / "shapes.mp4")], answers)
    for prompt, sampling in (("Where is the star?", GREEDY), ("What colour is the star?", Sampling(max_new_tokens=2))):
        other = Item(first.key, prompt, sampling, first.media, lambda: EXAMPLES / "shapes.mp4")
        assert answers.find(other) is None
        assert run(engine, [other], answers)[0].answer != first.answer


def test_answers_of_another_run_are_refused(tmp_path: Path) -> None:
    Answers(tmp_path, HEAD)
    with pytest.raises(DemoError, match=r"differs in model"):
        Answers(tmp_path, HEAD | {"model": "other"})
