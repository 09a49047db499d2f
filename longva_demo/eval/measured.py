"""A benchmark's score without the questions that were not asked, and with its 95 % interval."""

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from longva_demo.eval.interval import LEVEL, interval
from longva_demo.eval.published import Figure

Aggregate = Callable[[list[Any]], float]
RESAMPLES, SEED = 200, 0


@dataclass(frozen=True)
class Sample:
    """The result of one question: what the task made of the answer, and the video that it is about."""

    value: Any
    group: Hashable


@dataclass(frozen=True)
class Measured:
    """A score on the scale of the published figures. `low` and `high` are None if there is no interval."""

    value: float
    low: float | None
    high: float | None
    num_samples: int


def measure(samples: Sequence[Sample], aggregate: Aggregate, scale: float) -> Measured | None:
    """The score of `samples` by the task's own aggregation; None without samples.

    The interval is Wilson's if the score is the mean of what each question scores. Else videos are drawn again and
    again, with replacement, and each draw is aggregated.
    """
    if not samples:
        return None
    value = scale * float(aggregate([sample.value for sample in samples]))
    scores = [score_of(sample.value) for sample in samples]
    known = [score for score in scores if score is not None and 0 <= score <= 1]
    if len(known) == len(samples) and abs(100 * sum(known) / len(known) - value) < 0.01:
        low, high = (100 * bound for bound in interval(known, [sample.group for sample in samples]))
        return Measured(value, low, high, len(samples))
    ends = bootstrap(samples, aggregate, scale)
    return Measured(value, ends[0], ends[1], len(samples))


def score_of(value: Any) -> float | None:
    """What one question scores, 0 to 1, from a task's result for it; None if the task does not say."""
    if isinstance(value, dict):
        if "score" not in value:
            keys = ("pred_answer", "answer")
            return float(value["pred_answer"] == value["answer"]) if all(key in value for key in keys) else None
        value = value["score"]
    return float(value) if isinstance(value, int | float) else None


def bootstrap(samples: Sequence[Sample], aggregate: Aggregate, scale: float) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of any aggregation, from draws of videos. None if there are fewer than two."""
    groups: dict[Hashable, list[Any]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample.value)
    if len(groups) < 2:
        return None, None
    generator, parts, draws = random.Random(SEED), list(groups.values()), []
    for _ in range(RESAMPLES):
        drawn = generator.choices(parts, k=len(parts))
        draws.append(scale * float(aggregate([value for part in drawn for value in part])))
    draws.sort()
    cut = round(RESAMPLES * (1 - LEVEL) / 2)
    return draws[cut], draws[-1 - cut]


def table(figures: Sequence[tuple[Figure, Measured | None]], num_errors: int) -> list[str]:
    """Published and measured figures side by side; the difference only where model and frames are the same."""
    lines = [f"{'':34} {'published':>9} {'measured':>9} {'difference':>10}  95 % interval"]
    for figure, measured in figures:
        details = ", ".join(
            text for text in (figure.part, f"{figure.frames} frames" if figure.frames else figure.note) if text
        )
        name = f"{figure.model}, {details}" if details else figure.model
        cells = f"{name[:34]:34} {figure.value:9.1f}"
        if measured is not None:
            cells += f" {measured.value:9.1f} {measured.value - figure.value:+10.1f}  {interval_text(measured)}"
        lines.append(f"{cells}  ({figure.source})")
    return [*lines, f"errors, not counted: {num_errors:,}"]


def interval_text(measured: Measured) -> str:
    if measured.low is None or measured.high is None:
        return "no interval"
    return f"{measured.low:.1f} to {measured.high:.1f}"
