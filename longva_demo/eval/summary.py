"""What the results of a person's own questions add up to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from longva_demo.eval.interval import interval
from longva_demo.eval.results import Result


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its 95 % interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.share:5.1f}  ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class Summary:
    """Accuracies count answered questions only; None if there are none of the kind. Errors are counted apart.

    frames_prefilled, frames_alone: frames that went through the model, and those that would have without sharing.
    """

    num_questions: int
    num_answered: int
    num_errors: int
    accuracy: Accuracy | None
    multiple_choice: Accuracy | None
    open: Accuracy | None
    blind: Accuracy | None
    without_option: int  # answers to multiple-choice questions in which no option was found; they count as wrong
    frames_prefilled: int
    frames_alone: int

    @classmethod
    def of(cls, results: Sequence[Result], num_questions: int) -> Self:
        """`results` has one result per question that was asked."""
        answered = [result for result in results if not result.error]
        choice = [result for result in answered if result.question.options is not None]
        texts = [result for result in answered if result.question.options is None]
        return cls(
            num_questions=num_questions,
            num_answered=len(answered),
            num_errors=len(results) - len(answered),
            accuracy=accuracy(answered, "right"),
            multiple_choice=accuracy(choice, "right"),
            open=accuracy(texts, "right"),
            blind=accuracy(answered, "blind_right"),
            without_option=sum(result.option is None for result in choice),
            frames_prefilled=sum(result.num_frames for result in answered if result.prefilled),
            frames_alone=sum(result.num_frames for result in answered),
        )

    @property
    def saving(self) -> float:
        """How many times fewer frames were prefilled than without sharing."""
        return self.frames_alone / self.frames_prefilled if self.frames_prefilled else 1.0

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"saving": self.saving}

    def lines(self) -> list[str]:
        """The summary as text."""
        rows = (
            ("accuracy", self.accuracy),
            ("  multiple choice", self.multiple_choice),
            ("  open questions", self.open),
            ("accuracy without the video", self.blind),
        )
        return [
            f"{'':28} {'%':>5}  (95 % interval)",
            *(f"{name:28} {value}" for name, value in rows if value is not None),
            f"{'answered':28} {self.num_answered:5,} of {self.num_questions:,}",
            f"{'errors, not counted above':28} {self.num_errors:5,}",
            *([f"{'no option in the answer':28} {self.without_option:5,}"] if self.without_option else []),
            f"{'frames prefilled':28} {self.frames_prefilled:5,} instead of {self.frames_alone:,}"
            f" ({self.saving:.1f} × fewer, as questions share a prefill)",
        ]


def accuracy(results: Sequence[Result], field: str) -> Accuracy | None:
    """The share of results with a true `field`, in groups by video."""
    if not results:
        return None
    scores = [float(getattr(result, field)) for result in results]
    low, high = interval(scores, [result.question.video for result in results])
    return Accuracy(sum(scores) / len(scores), low, high)
