"""Own questions on the bundled model: the answers of `ask`, errors apart, resuming, the table and the page."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from PIL import Image

from longva_demo.chat import ChatSession, LocalEngine, Progress, Sampling
from longva_demo.cli.main import main
from longva_demo.errors import DemoError
from longva_demo.eval.asking import FrameSampling
from longva_demo.eval.command import OwnQuestions
from longva_demo.eval.questions import Question, read_questions
from longva_demo.eval.results import Result
from longva_demo.eval.run import Pace, Setup
from longva_demo.eval.summary import Summary
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits
from tests.eval.test_questions import write

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS: list[dict[str, Any]] = [
    {"video": "shapes.mp4", "question": "What colour is the star?", "answer": "red"},
    {"video": "broken.mp4", "question": "What colour is the star?", "answer": "red"},
    {"video": "change.mp4", "question": "What colour is the heart at the end?", "answer": "blue"},
    {"video": "shapes.mp4", "question": "What number is on the yellow square?", "answer": ["8", "eight"]},
    {"video": "shapes.mp4", "question": "Where is the circle?", "answer": "A", "options": ["right", "left"]},
    {"video": "picture.png", "question": "What number is on the heart?", "answer": ["3", "<b>three</b>"]},
    {"video": "missing.mp4", "question": "What do you see?", "answer": "nothing"},
    {"video": "change.mp4", "question": "What colour is the heart?", "answer": "blue", "start": 0, "end": "0:01"},
    {"video": "needle.mp4", "question": "What number appears in the video?", "answer": "7", "start": 35, "end": "0:43"},
]


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    for name in ("shapes.mp4", "change.mp4", "needle.mp4", "picture.png"):
        copy(EXAMPLES / name, folder)
    (folder / "broken.mp4").write_bytes((EXAMPLES / "shapes.mp4").read_bytes()[:2000])
    return write(folder / "questions.jsonl", *ROWS)


def setup(file: Path, out: Path, budget: int = 12, with_attribution: bool = False) -> Setup:
    frames = FrameSampling(budget, "pyav", DecodeLimits())
    return Setup(file.parent, out, frames, Sampling(max_new_tokens=64), with_attribution)


@pytest.fixture(scope="module")
def results(engine: LocalEngine, file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    evaluation = OwnQuestions(engine, read_questions(file), setup(file, tmp_path_factory.mktemp("out")))
    assert all(isinstance(event, Progress | Result) for event in evaluation.run())
    return evaluation.results


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run_ask(*arguments: str | Path) -> dict[str, Any]:
        assert main(["ask", *map(str, arguments), "--model", "tiny", "--frames", "12", "--json"]) == 0
        facts: dict[str, Any] = json.loads(capsys.readouterr().out)
        return facts

    return run_ask


def test_the_answers_are_those_of_ask(results: list[Result], file: Path, ask: Callable[..., dict[str, Any]]) -> None:
    for result in results:
        question = result.question
        if result.error:
            continue
        part = ("--start", str(question.start), "--end", str(question.end)) if question.end else ()
        facts = ask(file.parent / question.video, question.prompt, *part)
        assert result.answer == facts["answer"].strip()
        assert list(result.indices) == [frame["index"] for frame in facts["frames"]]
        assert result.num_tokens == facts["num_tokens"]
    assert [result.right for result in results[:4]] == [True, False, True, True]
    assert results[5].right


def test_an_unreadable_file_is_an_error_and_no_answer(results: list[Result]) -> None:
    for position in (1, 6):
        error = results[position]
        assert error == Result(error.question, error=error.error)
        assert ROWS[position]["video"] in error.error
        assert "\n" not in error.error
    summary = Summary.of(results, len(ROWS))
    assert (summary.num_questions, summary.num_errors) == (9, 2)
    assert summary.accuracy is not None
    assert summary.accuracy.share == sum(result.right for result in results) / 7
    assert summary.open is not None
    assert summary.open.share == sum(result.right for result in results if not result.question.options) / 6


def test_each_video_is_prefilled_once(results: list[Result]) -> None:
    assert [result.prefilled for result in results] == [True, False, True, False, False, True, False, True, True]
    summary = Summary.of(results, len(ROWS))
    assert summary.frames_prefilled == 12 + 12 + results[5].num_frames + results[7].num_frames + 12
    assert summary.frames_alone == summary.frames_prefilled + 2 * 12
    assert summary.saving == summary.frames_alone / summary.frames_prefilled > 1.3


def test_the_blind_answer_has_no_video(results: list[Result], engine: LocalEngine) -> None:
    session = ChatSession(engine)
    for result in results[:1] + results[3:6]:
        session.clear()
        list(session.ask(result.question.prompt, Sampling(max_new_tokens=64)))
        assert result.blind_answer == session.turns[-1].answer.strip()
    session.close()


def test_a_stopped_run_resumes(engine: LocalEngine, file: Path, tmp_path: Path, results: list[Result]) -> None:
    """Stopped after three results, and once more in the middle of a line."""
    questions = read_questions(file)
    first = OwnQuestions(engine, questions, setup(file, tmp_path))
    events = first.run()
    num_results = 0
    while num_results < 3:
        num_results += isinstance(next(events), Result)
    events.close()
    path = first.file.path
    path.write_bytes(path.read_bytes()[:-20])
    again = OwnQuestions(engine, questions, setup(file, tmp_path))
    assert len(again.results) == 2
    assert again.time_left == "time left unknown"
    list(again.run())
    assert [strip(result) for result in again.results] == [strip(result) for result in results]
    assert [question.video for question in again.left] == ["broken.mp4", "missing.mp4"], "they are tried again"


def strip(result: Result) -> tuple[object, ...]:
    return result.question, result.answer, result.blind_answer, result.right, result.indices, result.error


def test_a_mended_file_is_asked_about(engine: LocalEngine, tmp_path: Path) -> None:
    question = Question("late.mp4", "What colour is the star?", "red")
    file = tmp_path / "questions.jsonl"
    list(OwnQuestions(engine, [question], setup(file, tmp_path / "out")).run())
    copy(EXAMPLES / "shapes.mp4", tmp_path / "late.mp4")
    again = OwnQuestions(engine, [question], setup(file, tmp_path / "out"))
    assert again.results[0].error
    list(again.run())
    assert (again.results[0].right, again.summary.num_errors) == (True, 0)
    with pytest.raises(DemoError, match=r"from a different run \(differs in frames\); choose another --out"):
        OwnQuestions(engine, [question], setup(file, tmp_path / "out", budget=13))


def test_the_pace_tells_first_questions_from_later_ones() -> None:
    pace = Pace()
    questions = [Question("a.mp4", str(number), "x") for number in range(4)]
    assert pace.seconds(questions) is None
    pace.add(Result(questions[0], prefilled=True, took_seconds=10.0))
    pace.add(Result(questions[1], prefilled=False, took_seconds=1.0))
    pace.add(Result(questions[2], error="unreadable"))
    assert pace.seconds(questions) == pytest.approx(10 + 3)
    assert pace.seconds([]) == 0


def test_the_command_prints_a_table_and_writes_the_page(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(file), "--model", "tiny", "--frames", "12", "--out", str(tmp_path)]
    assert main([*command, "--limit", "2"]) == 0
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "note: missing.mp4 does not exist" in printed.err
    assert "1 of 9 questions are already answered" in printed.err
    assert "error: broken.mp4" in printed.err
    assert "errors, not counted above        2" in printed.out
    assert "accuracy without the video" in printed.out
    assert "× fewer, as questions share a prefill" in printed.out
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "Accepted: 3 / &lt;b&gt;three&lt;/b&gt;" in page
    assert "<b>three" not in page
    head, *rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text("utf-8").splitlines()]
    for name in ("model", "revision", "dtype", "frames", "sampling", "temperature", "extractor"):
        assert head[name] is not None
        assert f"<dt>{name}</dt>" in page
    used = [frame for row in rows for frame in row["used_frames"]]
    assert len({frame["picture"] for frame in used}) >= 5
    assert page.count("<h3>Frames the answer relied on</h3>") == 1
    assert page.count("<h3>Frames with most attention; the answer depends on no single one</h3>") == 5
    [needle] = [row for row in rows if row["question"]["video"] == "needle.mp4"]
    assert 37.5 <= needle["used_frames"][0]["seconds"] <= 39
    for frame in used:
        assert Image.open(tmp_path / frame["picture"]).size[0] >= 84
        assert f'src="{frame["picture"]}"' in page
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["num_questions"], facts["num_errors"], facts["model"]) == (9, 2, "tiny")


def test_the_command_fails_if_no_question_could_be_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "lost.jsonl", {**ROWS[0], "video": "missing.mp4"})
    assert main(["eval", str(file), "--model", "tiny", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == "longva-demo: no question could be answered; see the errors in the results"
    assert "errors, not counted above        1" in printed.out
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize(("budget", "right"), [(16, 14), (64, 16)])
def test_the_example_questions(engine: LocalEngine, tmp_path: Path, budget: int, right: int) -> None:
    """The figures of docs/evaluation.md: the number in needle.mp4 is visible for a second, between 16 frames."""
    evaluation = OwnQuestions(
        engine, read_questions(EXAMPLES / "questions.jsonl"), setup(EXAMPLES / "questions.jsonl", tmp_path, budget)
    )
    list(evaluation.run())
    wrong = [result.question.video for result in evaluation.results if not result.right]
    assert wrong == ["needle.mp4"] * (16 - right)
    assert not any(result.blind_right for result in evaluation.results)


def test_the_plan_loads_no_model(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["eval", str(file), "--plan", "--out", str(tmp_path / "no")]) == 0
    text = capsys.readouterr().out
    assert "9 questions about 6 videos, 7 prefills of up to 128 frames" in text
    assert "GPU memory: 19.5 GB in bf16" in text
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.jsonl",), "nothing.jsonl cannot be read"),
        (("vidomme",), "'vidomme' is not a known benchmark"),
        (("videomme", "--limit", "0"), "--limit is 0"),
        (("videomme", "--frames", "0"), "0 is not a valid num_frames"),
    ],
)
def test_a_bad_argument_is_one_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments, "--model", "tiny", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert words in printed.err
    assert not (tmp_path / "out").exists()


def test_bad_rows_are_printed_before_the_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "bad.jsonl", ROWS[0], "{", {"video": "a.mp4"})
    assert main(["eval", str(file), "--model", "no/such/model"]) == 2
    first, second, last = capsys.readouterr().err.splitlines()
    assert (first, second[:18]) == ("bad.jsonl, line 2: it is not JSON", "bad.jsonl, line 3:")
    assert last == "longva-demo: bad.jsonl: 2 rows are not valid; docs/evaluation.md describes the fields"
