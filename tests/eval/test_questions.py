"""Files of questions, the rules that score answers, and intervals."""

import codecs
import doctest
import importlib
import json
from pathlib import Path

import pytest

from longva_demo.errors import DemoError
from longva_demo.eval.interval import effective_number, interval, wilson
from longva_demo.eval.questions import Question, QuestionError, grouped, read_questions
from longva_demo.eval.scoring import extract_option, is_right

GOOD = {"video": "a.mp4", "question": "Who?", "answer": "a man"}
CHOICE = GOOD | {"options": ["a man", "a dog"], "answer": "B"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("name", ["questions", "scoring", "interval", "plan"])
def test_doctests(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"longva_demo.eval.{name}"))
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_questions_of_a_file(tmp_path: Path) -> None:
    other = GOOD | {"answer": ["a man", "a woman"], "start": "0:10", "end": 20.5}
    questions = read_questions(write(tmp_path / "q.jsonl", GOOD, "", CHOICE, other))
    assert questions[1] == Question("a.mp4", "Who?", "B", ("a man", "a dog"))
    assert questions[2].answers == ("a man", "a woman")
    assert questions[2].part == ("a.mp4", 10.0, 20.5)
    assert [len(group) for group in grouped(questions)] == [2, 1]


def test_a_file_from_an_editor_that_marks_utf8(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", GOOD)
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert len(read_questions(file)) == 1


BAD = [
    ("{", "it is not JSON"),
    ("[1]", "it is not a JSON object"),
    ({"video": "a.mp4", "question": "Who?"}, "the field answer is not valid"),
    (GOOD | {"answer": " "}, "the field answer"),
    (GOOD | {"answer": []}, "the field answer"),
    (GOOD | {"answer": 3}, "the field answer"),
    (GOOD | {"vidoe": "b.mp4"}, "the field vidoe is not valid"),
    (CHOICE | {"answer": "C"}, "answer must be one of the letters A to B"),
    (CHOICE | {"answer": "a dog"}, "answer must be one of the letters A to B"),
    (CHOICE | {"options": ["a dog", "a dog"]}, "two options are equal"),
    (CHOICE | {"options": ["a dog"]}, "the field options"),
    (GOOD | {"start": "noon"}, "the field start is not valid (use seconds (90) or h:mm:ss)"),
    (GOOD | {"start": []}, "the field start is not valid (use seconds (90) or h:mm:ss)"),
    (GOOD | {"end": float("nan")}, "the field end is not valid (use seconds (90) or h:mm:ss)"),
    (GOOD, "it repeats line 1"),
]


def test_every_bad_row_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", GOOD, *(row for row, _ in BAD))
    with pytest.raises(QuestionError, match=f"q.jsonl: {len(BAD)} rows are not valid") as raised:
        read_questions(file)
    assert len(raised.value.problems) == len(BAD)
    for number, (problem, (_, words)) in enumerate(zip(raised.value.problems, BAD, strict=True), start=2):
        assert problem.startswith(f"q.jsonl, line {number}: ")
        assert words in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "no questions"), (b"\xff\xfe", "UTF-8"), (None, "cannot be read")]
)
def test_files_without_questions(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(DemoError, match=words):
        read_questions(tmp_path / "q.jsonl")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(b)", None),
        ("B.", "B"),
        ("B) a dog", "B"),
        ("The best answer is (B).", "B"),
        ("The answer is B because it barks.", "B"),
        ("Option B", "B"),
        ("The answer is A big surprise.", None),
        ("A dog.", "B"),
        ("It is a small dog", None),
        ("I see a man and a dog.", None),
        ("E", None),
        ("", None),
    ],
)
def test_the_option_of_an_answer(answer: str, letter: str | None) -> None:
    assert extract_option(answer, ("a man", "a dog", "a cat")) == letter


def test_open_answers_contain_the_text() -> None:
    question = Question("a.mp4", "What number?", ("8", "eight"))
    assert is_right(question, "The number is 8.")
    assert is_right(question, "EIGHT")
    assert not is_right(question, "The number is 18.")
    assert not is_right(question, "eighty")


def test_wilson_against_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for right, number, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right / number, number) == pytest.approx((low, high), abs=5e-5)


def test_questions_about_one_video_are_not_independent() -> None:
    """Three questions about each of 100 videos, all right or all wrong: as much as 100 questions say."""
    scores = [float(video % 2) for video in range(100) for _ in range(3)]
    videos = [video for video in range(100) for _ in range(3)]
    assert effective_number(scores, videos) == pytest.approx(100, rel=0.02)
    alone = interval(scores, range(300))
    shared = interval(scores, videos)
    assert shared[0] < alone[0] < 0.5 < alone[1] < shared[1]
    assert interval([1.0, 1.0], ["a", "a"])[0] == interval([1.0], ["a"])[0]
