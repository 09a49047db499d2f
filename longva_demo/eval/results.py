"""Results of a person's own questions, as they are saved."""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from longva_demo.errors import DemoError
from longva_demo.eval.questions import Question
from longva_demo.strict import STRICT, first_problem


@dataclass(frozen=True, config=STRICT)
class UsedFrame:
    """A frame that an answer drew on. `picture` is a file in the folder of the results.

    weight: its share of the attention to frames.
    drop: of the answer's log-probability without the frame, in nats; None if that was not measured.
    """

    index: int
    seconds: float
    weight: float
    drop: float | None
    picture: str


@dataclass(frozen=True, config=STRICT)
class Result:
    """The result of one question.

    option: the letter that was found in the answer to a multiple-choice question.
    blind_answer, blind_right: the same question without the video.
    indices, seconds: of the frames that the model was given; empty for a picture.
    prefilled: whether the video was prefilled for this question, and not for an earlier one.
    error: why there is no answer; all fields after `question` are then empty.
    """

    question: Question
    answer: str = ""
    option: str | None = None
    right: bool = False
    blind_answer: str = ""
    blind_right: bool = False
    indices: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    used_frames: tuple[UsedFrame, ...] = ()
    num_frames: int = 0
    num_tokens: int = 0
    prefilled: bool = False
    took_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""


RESULT: TypeAdapter[Result] = TypeAdapter(Result)


def to_row(result: Result) -> dict[str, Any]:
    """A result as a line of a result file."""
    row: dict[str, Any] = RESULT.dump_python(result, mode="json")
    return row


def from_row(row: dict[str, Any]) -> Result:
    """The reverse; raises DemoError if the line is not a result."""
    try:
        return RESULT.validate_json(json.dumps(row))
    except ValidationError as error:
        raise DemoError(f"a result is damaged ({first_problem(error)})", "choose another --out") from error
