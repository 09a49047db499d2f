"""Chapters with the built-in model: cuts at the right frames, right titles, stop and formats."""

import random
from pathlib import Path

import numpy as np
import pytest

import longva_demo as longva
from longva_demo.chat import LocalEngine
from longva_demo.chat.lines import HEADS
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.moments.chapters import QUESTION, Chapter, Outline, describe, find_chapters, positions_in, strongest
from longva_demo.moments.export import chapters_markdown, chapters_vtt
from longva_demo.moments.scene_lines import MAX_TOKENS, before_question, beside_title, lines_in
from longva_demo.moments.scenes import Cut, Sketch, find_cuts, make_sketch
from longva_demo.settings import Settings
from longva_demo.timed_text import Line
from longva_demo.tiny.clips import motion
from longva_demo.tiny.questions import describe as true_description
from longva_demo.tiny.scenes import BACKGROUND_NAMES, Mix, Scene
from tests.moments.conftest import FPS, make_source, thing, write_scenes

STARTS = (0.0, 6.3, 14.0, 25.5)
DURATION = 33.0


LINES = [
    Line(1.0, 4.0, "Welcome to the show.", "subtitles"),
    Line(5.5, 9.0, "Here are two things.", "speech"),  # crosses a cut, and is mostly in the second scene
    Line(14.0, DURATION, "LIVE", "screen"),
]


def shots() -> list[Scene]:
    rgb = {"navy": (24, 36, 96), "beige": (226, 208, 168), "gray": (128, 128, 128)}

    def scene(background: str, *things: object) -> Scene:
        return Scene(BACKGROUND_NAMES.index(background), tuple(things), rgb=rgb[background])  # type: ignore[arg-type]

    return [
        scene("navy", thing("red", "star", 0.2, 0.2)),
        scene("beige", thing("blue", "circle", 0.5, 0.5), thing("green", "heart", 0.8, 0.8)),
        scene("gray"),
        scene("beige", thing("black", "cross", 0.2, 0.5)),
    ]


def write_shots(path: Path) -> Path:
    bounds = [*STARTS, DURATION]
    frames = [
        one for at, one in enumerate(shots()) for _ in range(round(FPS * bounds[at]), round(FPS * bounds[at + 1]))
    ]
    return write_scenes(path, frames)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shots(tmp_path_factory.mktemp("chapters") / "shots.mp4")


def test_each_scene_becomes_a_chapter(tiny: LocalEngine, clip: Path) -> None:
    source = make_source(tiny, clip, 40)
    *_, outline = find_chapters(tiny, source, lambda: False)
    assert outline.progress is None
    assert [one.start for one in outline.chapters] == pytest.approx(STARTS, abs=0.25)
    assert [one.end for one in outline.chapters] == pytest.approx([*STARTS[1:], DURATION], abs=0.25)
    assert [one.title for one in outline.chapters] == [true_description(scene) for scene in shots()]
    source.close()


def test_a_video_without_a_cut_is_one_chapter(tiny: LocalEngine, tmp_path: Path) -> None:
    """Something moves all the time."""
    frames = motion(random.Random(3), Mix(), 200, 1).frames
    source = make_source(tiny, write_scenes(tmp_path / "motion.mp4", [one for one in frames if one]), 60)
    *_, outline = find_chapters(tiny, source, lambda: False)
    assert [(one.start, one.end) for one in outline.chapters] == [(0.0, pytest.approx(20.0))]
    source.close()


def test_a_stop_keeps_the_chapters_so_far(tiny: LocalEngine, clip: Path) -> None:
    source, seen = make_source(tiny, clip, 40), [Outline()]
    for outline in find_chapters(tiny, source, lambda: len(seen[-1].chapters) >= 2):
        seen.append(outline)
    assert len(seen[-1].chapters) == 2
    assert seen[-1].progress is not None
    source.close()


def test_the_front_door(clip: Path) -> None:
    updates: list[Outline] = []
    found = longva.chapters(clip, frames=40, model="tiny", start=5, end="0:20", on_update=updates.append)
    assert [one.start for one in found] == pytest.approx([5.0, *STARTS[1:3]], abs=0.25)
    assert found[-1].end == pytest.approx(20.0)
    assert tuple(found) == updates[-1].chapters
    with pytest.raises(DemoError, match=r"nowhere\.mp4"):
        longva.chapters("nowhere.mp4")


def test_titles_of_the_builtin_model_quote_what_is_said_and_written(clip: Path) -> None:
    """It cannot read the lines, so they change nothing else."""
    first, second, third, fourth = map(true_description, shots())
    assert [one.title for one in longva.chapters(clip, frames=40, model="tiny", lines=LINES)] == [
        f"{first} “Welcome to the show.”",
        f"{second} “Here are two things.”",
        f"{third} “LIVE”",
        f"{fourth} “LIVE”",
    ]


def test_a_model_that_reads_is_given_the_lines_of_the_scene(
    reference: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())
    decode = engine.processor.tokenizer.decode
    prompts: list[str] = []
    monkeypatch.setattr("longva_demo.moments.chapters.answer_about", lambda *given: prompts.append(decode(given[2])))
    monkeypatch.setattr("longva_demo.moments.chapters.one_line", lambda _: "A title.")
    source = make_source(engine, clip, 40)
    *_, outline = find_chapters(engine, source, lambda: False, LINES)
    assert [one.title for one in outline.chapters] == ["A title."] * 4, "nothing is quoted beside it"
    quoted = [
        (HEADS["subtitles"], '[0:01] "Welcome to the show."'),
        (HEADS["speech"], '[0:05] "Here are two things."'),
        (HEADS["screen"], '[0:14] "LIVE"'),
        (HEADS["screen"], '[0:14] "LIVE"'),
    ]
    for prompt, (head, line) in zip(prompts, quoted, strict=True):
        assert f"\n{head}\n{line}\n{QUESTION}<|im_end|>" in prompt
    source.close()


def test_lines_of_a_scene() -> None:
    assert lines_in(LINES, 0.0, 6.3) == LINES[:1]
    assert lines_in(LINES, 6.3, 14.0) == LINES[1:2]
    assert lines_in([Line(2.0, 2.0, "At once.", "subtitles")], 2.0, 4.0) != []
    many = [Line(float(at), at + 1.0, f"sentence {at}", "speech") for at in range(400)]
    counted: list[str] = []
    given = before_question(100 * many, lambda text: [counted.append(text), len(text.split())][1])
    assert sum(map(len, counted)) < 10_000, "the rest of a long scene costs nothing"
    assert 300 < len(given.split()) <= MAX_TOKENS
    assert '"sentence 0"' in given
    assert before_question([], len) == beside_title([]) == ""
    assert beside_title(many).startswith(" “sentence 0 sentence 1")
    assert len(beside_title(many)) < 90


def flat(at: int, level: int) -> Sketch:
    return make_sketch(at, float(at), np.full((84, 84, 3), level, np.uint8))


def test_a_cut_stands_out_from_what_is_around_it() -> None:
    steady = [flat(at, 20) for at in range(5)] + [flat(at, 200) for at in range(5, 10)]
    assert [(cut.before.index, cut.after.index) for cut in find_cuts(steady)] == [(4, 5)]
    flicker = [flat(at, 20 + 100 * (at % 2)) for at in range(10)]
    assert find_cuts(flicker) == []
    assert find_cuts(steady[:1]) == []


def test_hue_is_a_circle() -> None:
    red, pink = (make_sketch(0, 0.0, np.full((8, 8, 3), colour, np.uint8)) for colour in ((255, 0, 5), (255, 5, 0)))
    assert red.difference(pink) < 5


def test_of_too_many_cuts_the_clearest_stay() -> None:
    cuts = [Cut(flat(at, 0), flat(at + 1, 20 + at % 150)) for at in range(150)]
    kept, [note] = strongest(cuts)
    assert len(kept) == 99
    assert [cut.before.index for cut in kept] == list(range(51, 150))
    assert "150 changes of scene" in note
    assert strongest(cuts[:99]) == (cuts[:99], ())


def test_samples_of_a_scene() -> None:
    sketches = [flat(at, 0) for at in range(30)]
    assert positions_in(sketches, 3.0, 6.0, 8) == [3, 4, 5]
    assert positions_in(sketches, 0.0, 30.0, 8) == [0, 4, 8, 12, 17, 21, 25, 29]
    assert positions_in(sketches, 7.2, 7.9, 8) == [8], "a scene between two samples: the nearest one"


def test_one_sample_of_a_scene_is_its_middle() -> None:
    assert positions_in([flat(at, 0) for at in range(30)], 2.0, 11.0, 1) == [6]


def test_a_long_title_is_cut_at_a_word(tiny: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longva_demo.moments.chapters.answer_about", lambda *_: "word\n" * 100)
    source = make_source(tiny, clip, 4)
    list(source.ensure_decoded(lambda: False))
    title = describe(tiny, source, [0], lambda: False)
    assert len(title) <= 201
    assert title.endswith("word…")
    assert "\n" not in title
    source.close()


def test_formats() -> None:
    chapters = [Chapter(0.0, 62.5, "One *star* [1]"), Chapter(62.5, 70.0, "Two")]
    assert chapters_markdown(chapters) == "- 0:00 One \\*star\\* \\[1\\]\n- 1:02 Two\n"
    assert chapters_vtt(chapters).count(" --> ") == 2
