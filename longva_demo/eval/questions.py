"""A person's own questions: one JSON object per line, each about a video or picture, with its answer.

    {"video": "clips/street.mp4", "question": "What colour is the bus?", "answer": "red"}
    {"video": "clips/street.mp4", "question": "Who gets off?", "options": ["a man", "a dog"], "answer": "A"}

docs/evaluation.md describes each field.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from longva_demo.errors import DemoError, one_line
from longva_demo.strict import STRICT, TIME, first_problem, require
from longva_demo.times import parse_time

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Text = Annotated[str, Field(pattern=r"\S", max_length=50_000)]
INSTRUCTION = "Answer with the option's letter from the given choices directly."  # as LongVA was trained
MAX_BYTES = 100_000_000


class QuestionError(DemoError):
    """A file of questions with bad rows. `problems` has one line for each of them."""

    def __init__(self, message: str, remedy: str, problems: list[str]) -> None:
        super().__init__(message, remedy)
        self.problems = problems


@dataclass(frozen=True, config=STRICT)
class Question:
    """One row. `video` is relative to the file of questions, and may be a picture.

    answer: the letter of an option or, without `options`, a text. An open question may accept several texts.
    start, end: the part of the video to ask about, in seconds or as "h:mm:ss".
    """

    video: Text
    question: Text
    answer: Text | Annotated[tuple[Text, ...], Field(min_length=1)]
    options: Annotated[tuple[Text, ...], Field(min_length=2, max_length=len(LETTERS))] | None = None
    start: Annotated[float | str, TIME] = 0.0
    end: Annotated[float | str | None, TIME] = None

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        answer = info.data.get("answer")
        if options is not None and answer is not None:
            require(len(set(options)) == len(options), "two options are equal")
            letters = LETTERS[: len(options)]
            require(
                isinstance(answer, str) and len(answer) == 1 and answer in letters,
                f"with options, answer must be one of the letters {letters[0]} to {letters[-1]}",
            )
        return options

    @field_validator("start", "end")
    @classmethod
    def _check_time(cls, time: float | str | None) -> float | str | None:
        seconds(time)
        return time

    @property
    def answers(self) -> tuple[str, ...]:
        """The accepted answers: the letter of the option, or texts."""
        return (self.answer,) if isinstance(self.answer, str) else self.answer

    @property
    def part(self) -> tuple[str, float, float | None]:
        """What is prefilled: questions about the same part of the same video share it."""
        return self.video, seconds(self.start) or 0.0, seconds(self.end)

    @property
    def prompt(self) -> str:
        """What the model is asked.

        >>> print(Question("a.mp4", "Which?", "B", ("one", "two")).prompt)
        Which?
        A. one
        B. two
        Answer with the option's letter from the given choices directly.
        """
        if self.options is None:
            return self.question
        options = (f"{letter}. {text}" for letter, text in zip(LETTERS, self.options, strict=False))
        return "\n".join([self.question, *options, INSTRUCTION])


ROW: TypeAdapter[Question] = TypeAdapter(Question)


def seconds(time: float | str | None) -> float | None:
    """Seconds of a time as rows give it; ValueError if it is not one."""
    if time is None:
        return None
    try:
        return parse_time(str(time))
    except DemoError as error:
        raise ValueError(error.remedy) from None


def read_questions(path: Path) -> list[Question]:
    """All questions of a file. Empty lines are skipped.

    Raises:
        DemoError: the file cannot be read or has no questions.
        QuestionError: rows are not valid; `problems` has one line for each.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DemoError(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB", "use a JSONL file of questions")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DemoError(f"{path.name} is not a text file in UTF-8", "use a JSONL file of questions") from None
    except OSError as error:
        raise DemoError(f"{path} cannot be read ({error.strerror})", "check the path") from None
    lines: dict[Question, int] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                question = parse_row(line)
                require(question not in lines, f"it repeats line {lines.get(question)}")
                lines[question] = number
            except ValueError as error:
                problems.append(one_line(f"{path.name}, line {number}: {error}"))
    if problems:
        bad = "1 row is" if len(problems) == 1 else f"{len(problems):,} rows are"
        raise QuestionError(f"{path.name}: {bad} not valid", "docs/evaluation.md describes the fields", problems)
    if not lines:
        raise DemoError(f"{path.name} has no questions", "write one JSON object per line; see docs/evaluation.md")
    return list(lines)


def parse_row(line: str) -> Question:
    """The question of one line.

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    require(isinstance(values, dict), "it is not a JSON object")
    try:
        return ROW.validate_json(line)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def grouped(questions: list[Question]) -> Iterator[list[Question]]:
    """Questions about the same part of the same video together, in the order of each one's first question."""
    groups: dict[tuple[str, float, float | None], list[Question]] = {}
    for question in questions:
        groups.setdefault(question.part, []).append(question)
    yield from groups.values()
