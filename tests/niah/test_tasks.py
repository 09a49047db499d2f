"""The successors of V-NIAH: where things are hidden, what is drawn, scores against a full forward pass, and formats."""

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longva_demo.chat import LocalEngine
from longva_demo.chat.lines import MAX_TOKENS
from longva_demo.cli.main import main
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.niah import Asked, Cell, Footage, Grid, Haystack, Kind, Needle, Result, Task, drawn_frames, run
from longva_demo.niah.drawn import (
    COUNTS,
    RESERVED,
    drawn_clips,
    drawn_counts,
    drawn_needles,
    drawn_orders,
    near_miss,
)
from longva_demo.niah.haystack import drawn_name, encode, leave_out
from longva_demo.niah.hiding import Hidden, Trial, distractor_positions, spread_evenly, with_distractors, within_window
from longva_demo.niah.lines import LINE_FRAMES, QUESTION, among_lines, line_needles
from longva_demo.niah.needle import groups, join
from longva_demo.niah.needles import load_needles
from longva_demo.niah.run import with_lines
from longva_demo.settings import Settings
from longva_demo.tiny.clips import haystack as draw_scenes
from tests.video.clips import read_number, write_clip

SMALL = Grid((8, 12), (0.0, 1.0))
TASKS = [Task(Kind.DISTRACTORS, 2), Task(Kind.SEVERAL, 3), Task(Kind.COUNT), Task(Kind.ORDER), Task(Kind.CLIPS)]


def footage(*names: str) -> tuple[Footage, ...]:
    """One picture per name."""
    return tuple(Footage((Image.new("RGB", (4, 4), name),)) for name in names)


def positions(trial: Trial) -> list[int]:
    return [hidden.position for hidden in trial.hidden]


def test_distractors_are_a_period_away() -> None:
    rng = random.Random(0)
    for cell, expected in ((Cell(500, 0.0, 0), {200}), (Cell(500, 1.0, 0), {300}), (Cell(150, 0.5, 0), set())):
        assert {*distractor_positions(cell, 1, rng)} == expected
    sides = {distractor_positions(Cell(1000, 0.5, 0), 1, random.Random(seed))[0] for seed in range(20)}
    assert sides == {300, 700}
    assert sorted(distractor_positions(Cell(1000, 0.5, 0), 9, rng)) == [100, 300, 700, 900]
    assert distractor_positions(Cell(1000, 0.5, 0), 2, rng)[:1] in ([300], [700])


def test_a_distractor_is_not_the_needle() -> None:
    needle, near = footage("red", "blue")
    hide = with_distractors(4, seed=3)
    trial = hide(Cell(1000, 0.4, 0), Needle("n", (needle,), (Asked("?", "!"),), near))
    assert positions(trial) == [0, 200, 400, 600, 800]
    assert [hidden.part for hidden in trial.hidden] == [None, None, 0, None, None]
    assert trial.frames_of({0}) == {402}  # after two distractors
    again = hide(Cell(1000, 0.4, 0), Needle("n", (needle,), (Asked("?", "!"),), near))
    assert again.hidden == trial.hidden


@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_several_needles_are_within_a_fifth(depth: float) -> None:
    needle = Needle("n", footage("red", "blue", "green", "white"), (Asked("?", "!"),))
    for number in range(20):
        cell = Cell(100, depth, number)
        found = positions(within_window(0)(cell, needle))
        assert found == sorted(found)
        assert 80 * depth <= found[0] <= found[-1] < 80 * depth + 20
    assert within_window(0)(cell, needle) != within_window(1)(cell, needle)


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [1]), (2, [1, 100]), (3, [1, 50, 100])])
def test_what_is_counted_is_spread_as_published(count: int, expected: list[int]) -> None:
    needle = Needle("n", footage(*["red"] * count), (Asked("?", "!"),))
    assert positions(spread_evenly(Cell(100, 0.5, 0), needle)) == expected


def test_frames_of_a_clip_are_counted() -> None:
    clip = Footage(tuple(Image.new("RGB", (4, 4)) for _ in range(3)))
    [picture] = footage("red")
    trial = Trial((Hidden(picture, 2, 0), Hidden(clip, 5, 1), Hidden(picture, 9, 2)), ())
    assert trial.num_frames == 5
    assert [trial.frames_of({part}) for part in range(3)] == [{2}, {6, 7, 8}, {13}]
    assert trial.frames_of({0, 2}) == {2, 13}


def test_groups_of_needles() -> None:
    needles = drawn_needles()
    made = groups(needles, 3)
    assert len(made) == len(needles)
    assert [part for needle in made for part in needle.parts].count(needles[0].parts[0]) == 3
    for needle in made:
        assert len({asked.answer for asked in needle.asked}) == 3
        assert [asked.parts for asked in needle.asked] == [(0,), (1,), (2,)]
    assert join(needles[:2]).name == f"{needles[0].name} + {needles[1].name}"
    for size in (1, 21):
        with pytest.raises(DemoError, match="cannot be hidden together"):
            groups(needles, size)


def test_a_near_miss_shares_the_shape_or_the_colour() -> None:
    kinds = set()
    for seed in range(30):
        [thing] = [thing for thing in near_miss(random.Random(seed), 2, 3, 4).things if thing.symbol < 10]
        assert thing.symbol != 4
        kinds.add((thing.shape == 2, thing.colour == 3))
    assert kinds == {(True, False), (False, True)}


def test_drawn_counts_and_orders() -> None:
    counts = drawn_counts()
    assert [len(needle.parts) for needle in counts[:4]] == list(COUNTS)
    assert all(needle.asked[0].answer == f"I count {len(needle.parts)}." for needle in counts)
    orders = [(needle.asked[0].question, needle.asked[0].answer) for needle in drawn_orders()]
    assert [answer for _, answer in orders].count("The star.") == len(orders) / 2
    named = [question.index(answer[4:-1]) == question.index("the ") + 4 for question, answer in orders]
    assert named.count(True) == len(orders) / 2  # so naming one of them always is right half of the time
    assert len(set(orders)) == 4


def test_a_drawn_haystack_lacks_what_is_reserved() -> None:
    scenes = draw_scenes(random.Random(1), 200)
    shapes = {thing.shape for scene in scenes for thing in scene.things}
    cleaned = leave_out(scenes, RESERVED)
    assert {thing.shape for scene in cleaned for thing in scene.things} == shapes - set(RESERVED)
    assert [one is two for one, two in pairwise(cleaned)] == [one is two for one, two in pairwise(scenes)]
    assert drawn_name(3, RESERVED) == f"{drawn_name(3)}, without star and heart"


def test_drawn_clips_have_to_be_read() -> None:
    clips = drawn_clips()
    assert all(5 <= len(clip.parts[0]) <= 10 for clip in clips)
    assert {len(clip.parts[0]) for clip in clips} >= {5, 10}
    assert len({clip.asked[0].answer for clip in clips if clip.name == "motion"}) > 2
    assert {clip.name for clip in clips} == {"motion", "colour at the start", "colour at the end"}
    for clip in clips:
        first, *_, last = clip.parts[0].pixels.astype(int)
        assert np.abs(first - last).max() > 60  # something changes
    again = drawn_clips()
    assert all(np.array_equal(one.parts[0].pixels, two.parts[0].pixels) for one, two in zip(clips, again, strict=True))


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings())


@pytest.fixture(scope="module")
def haystack(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Haystack:
    made = Haystack(engine, 12, tmp_path_factory.mktemp("haystack"))
    list(made.fill(drawn_frames(12)))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind.name.lower())
def test_each_cell_equals_a_full_forward_pass(
    task: Task, engine: LocalEngine, haystack: Haystack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared KV cache, with whatever is hidden, against one forward pass of each whole prompt."""
    monkeypatch.setattr("longva_demo.niah.hiding.PERIOD", 3)
    needles, hide = task.load("drawn")[:2], task.hide(0)
    cells = task.grid(SMALL).cells(2)
    found = [one for one in run(engine, haystack, needles, cells, hide=hide) if isinstance(one, Result)]
    assert [result.cell for result in found] == cells
    for result in found:
        trial = hide(result.cell, needles[result.cell.needle])
        forced = [scored(engine, haystack, result.cell, trial, asked) for asked in trial.asked]
        assert result.forced == all(forced), result
        assert (result.answer == " | ".join(asked.answer for asked in trial.asked)) == all(forced)  # both are greedy
        assert (result.attributed is None) == (not trial.hidden)
    assert len(engine.prefix_cache) == 0


def scored(engine: LocalEngine, haystack: Haystack, cell: Cell, trial: Trial, asked: Asked) -> bool:
    """The published score of one question by one forward pass."""
    ends = [0, *(hidden.position for hidden in trial.hidden), cell.frames]
    hidden = [encode(engine, one.footage.pixels) for one in trial.hidden]
    parts = [haystack[first:last] for first, last in pairwise(ends)]
    between = [part for pair in zip(parts, hidden, strict=False) for part in pair]
    frames = torch.cat([*between, parts[-1]]).flatten(0, 1)
    assert len(frames) == (cell.frames + trial.num_frames) * engine.loaded.model.config.tokens_per_frame
    embed, template = engine.loaded.model.get_input_embeddings(), engine.template
    truth = torch.tensor(engine.processor.encode_text(asked.answer))
    question = template.question(asked.question, first=True, has_frames=True)
    with torch.inference_mode():
        prompt = [embed(torch.tensor(template.header)), frames, embed(torch.tensor(question)), embed(truth)]
        logits = engine.loaded.model(inputs_embeds=torch.cat(prompt)[None]).logits[0]
    return bool((logits[-len(truth) - 1 : -1].argmax(-1) == truth).all())


@pytest.mark.parametrize(("depth", "expected"), [(0.0, 0), (0.5, 12), (1.0, 24)])
def test_a_line_tells_the_word_at_its_depth(depth: float, expected: int) -> None:
    needle, hide = line_needles()[3], among_lines(seed=5)
    trial = hide(Cell(100, depth, 3), needle)
    assert trial.hidden == (), "the frames stay as they are"
    assert [line.start for line in trial.lines] == [float(at) for at in range(0, 100, LINE_FRAMES)]
    assert [number for number, line in enumerate(trial.lines) if "secret" in line.text] == [expected]
    assert trial.lines[expected].text == "The secret word is Oliver."
    assert hide(Cell(100, depth, 3), needle) == trial
    assert among_lines(seed=6)(Cell(100, depth, 3), needle) != trial


@pytest.mark.slow
def test_lines_are_given_as_a_chat_gives_them(reference: Path, tmp_path: Path) -> None:
    """All of them where they are short, else those that fit; scores are those of a full forward pass."""
    engine = LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())
    haystack = Haystack(engine, 12, tmp_path)
    list(haystack.fill(drawn_frames(12)))
    needles, cells, task = line_needles()[:2], SMALL.cells(2), Task(Kind.LINES)
    hide = task.hide(0)
    for frames, all_given in ((12, True), (4000, False)):
        trial = hide(Cell(frames, 0.5, 0), needles[0])
        [asked] = (with_lines(engine, trial, one) for one in trial.asked)
        assert asked.question.endswith(f"\n{QUESTION}")
        assert "The secret word is Alice." in asked.question
        assert (asked.question.count("[") == len(trial.lines)) == all_given
        assert len(engine.processor.encode_text(asked.question)) <= MAX_TOKENS + 40
    found = [one for one in run(engine, haystack, needles, cells, hide=hide) if isinstance(one, Result)]
    assert [result.cell for result in found] == cells
    for result in found:
        trial = hide(result.cell, needles[result.cell.needle])
        [asked] = (with_lines(engine, trial, one) for one in trial.asked)
        assert result.forced == scored(engine, haystack, result.cell, trial, asked)
        assert result.attributed is None


def write_dataset(folder: Path, *rows: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(rows))
    for name in ("a", "b", "c"):
        Image.new("RGB", (30, 20), "red").save(folder / f"{name}.png")
    return folder


def test_published_formats_of_the_successors(tmp_path: Path) -> None:
    asked = {"prompt": "What?", "answer": "B"}
    folder = write_dataset(
        tmp_path / "needles",
        {"path": ["a.png", "b.png"], **asked},
        {"path": "['a.png', 'b.png', 'c.png']", **asked},
        {"path": [], **asked},
        {"path": "a.png", "interrupt_path": "b.png", **asked},
    )
    needles = load_needles(str(folder))
    assert [len(needle.parts) for needle in needles] == [2, 3, 0, 1]
    assert [needle.asked[0].parts for needle in needles] == [(0, 1), (0, 1, 2), (), (0,)]
    assert [needle.distractor is not None for needle in needles] == [False, False, False, True]
    assert Task(Kind.COUNT).load(str(folder))[2].parts == ()
    for path in (["a.png", 5], "[a.png", None, {}):
        write_dataset(folder, {"path": path, **asked})
        with pytest.raises(DemoError, match=r"entry 1 of .* has no path"):
            load_needles(str(folder))


def test_a_video_as_needle(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "clips", {"path": "clip.mp4", "prompt": "How many?", "answer": "C"})
    write_clip(folder / "clip.mp4", 60, fps=4)
    [clip] = Task(Kind.CLIPS).load(str(folder))
    assert [read_number(frame) for frame in clip.parts[0].pixels] == list(range(0, 40, 4))  # ten seconds


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.DISTRACTORS, r"needles without distractors, .*; use --needles FOLDER, .* interrupt_path"),
        (Kind.COUNT, "no needles of several pictures, .* lists of paths"),
        (Kind.CLIPS, "needles that are not clips, .* a video as path"),
        (Kind.SEVERAL, "9 needles cannot be hidden together; use a number from 2 to 1"),
    ],
)
def test_needles_that_lack_what_a_test_needs(kind: Kind, words: str, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "needles", {"path": "a.png", "prompt": "What?", "answer": "B"})
    with pytest.raises(DemoError, match=words):
        Task(kind, 9).load(str(folder))


def test_published_needles_have_one_picture_each() -> None:
    """Nothing is downloaded to find that out."""
    with pytest.raises(DemoError, match="lmms-lab/v_niah_needles has nothing for TimeScope, clips"):
        Task(Kind.CLIPS).load("lmms-lab/v_niah_needles")
    with pytest.raises(DemoError, match="has needles of its own; leave --needles out"):
        Task(Kind.LINES).load("somewhere")


@pytest.mark.slow
def test_the_flags_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["niah", "--model", "tiny", "--num-needles", "2", "--frames", "6", "--depths", "1", "--json"]
    for flags, title in ((["--several", "2"], "V-RULER, several needles (2)"), (["--count"], "V-RULER, counting")):
        out = tmp_path / flags[0].strip("-")
        assert main([*command, *flags, "--out", str(out)]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["test"], facts["cells"], facts["published"]) == (title, 2, {})
        first = json.loads((out / "results.jsonl").read_text().splitlines()[0])
        assert (first["test"], len(first["needles"])) == (title, 2)
        assert (out / "heatmap.png").is_file()
    assert main([*command, "--lines", "--out", str(tmp_path / "lines")]) == 2
    assert "the built-in model cannot read lines of text; use LongVA-7B" in capsys.readouterr().err
    assert main([*command, "--order", "--out", str(out)]) == 2
    assert "is from a different run (differs in needles, test)" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("flags", [["--count", "--order"], ["--distractors", "0"], ["--several", "x"]])
def test_flags_that_do_not_go_together(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["niah", "--model", "tiny", *flags])
    except SystemExit as ended:
        code = int(str(ended.code))
    printed = capsys.readouterr()
    assert (code, printed.out, len(printed.err.splitlines())) == (2, "", 1)
