"""Scores of benchmarks: the tasks' own aggregation, intervals, and the table beside the published figures."""

from typing import Any

import pytest

from longva_demo.eval.interval import interval
from longva_demo.eval.measured import Measured, Sample, measure, score_of, table
from longva_demo.eval.published import figures_of


def mean(values: list[Any]) -> float:
    return sum(value["score"] for value in values) / len(values)


def mean_of_kinds(values: list[Any]) -> float:
    """As MLVU: the mean over kinds of questions of their means."""
    kinds = {value["kind"] for value in values}
    return 100 * sum(mean([value for value in values if value["kind"] == kind]) for kind in kinds) / len(kinds)


def samples(*scores: int) -> list[Sample]:
    """Three questions per video, of kinds that take turns 2 : 1."""
    kinds = ("a", "a", "b")
    return [
        Sample({"score": score, "kind": kinds[number % 3]}, f"video {number // 3}")
        for number, score in enumerate(scores)
    ]


def test_a_mean_has_wilsons_interval() -> None:
    found = samples(1, 0, 1, 1, 1, 1, 0, 0, 1)
    measured = measure(found, mean, scale=100)
    low, high = interval([one.value["score"] for one in found], [one.group for one in found])
    assert measured is not None
    assert (measured.low, measured.high) == (100 * low, 100 * high)
    assert measured.value == pytest.approx(100 * 6 / 9)
    assert measure([], mean, scale=100) is None


def test_another_aggregation_is_drawn_again() -> None:
    measured = measure(samples(1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0), mean_of_kinds, scale=1)
    assert measured is not None
    assert measured.value == pytest.approx(100 * (6 / 8 + 1 / 4) / 2)
    assert measured.low is not None
    assert measured.high is not None
    assert measured.low < measured.value < measured.high
    alone = measure(samples(1, 1, 0), mean_of_kinds, scale=1)
    assert alone == Measured(50.0, None, None, 3), "one video has no interval"


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (1, 1.0),
        (0.25, 0.25),
        ({"score": 1.0, "pred_answer": "A"}, 1.0),
        ({"pred_answer": "A", "answer": "B"}, 0.0),
        ({"id": 3}, None),
        ("A", None),
    ],
)
def test_the_score_of_a_sample(value: Any, score: float | None) -> None:
    assert score_of(value) == score


def test_the_table_compares_equal_settings_only() -> None:
    figures = figures_of("videomme")
    measured = Measured(51.9, 50.0, 53.8, 2700)
    lines = table([(figure, measured if figure.frames == 128 else None) for figure in figures], num_errors=3)
    [line] = [line for line in lines if "52.6" in line and "128 frames" in line]
    assert " ".join(line.split()) == "LongVA-7B, 128 frames 52.6 51.9 -0.7 50.0 to 53.8 (arXiv 2406.16852)"
    [other] = [line for line in lines if "384 frames" in line]
    assert "51.9" not in other
    assert lines[-1] == "errors, not counted: 3"
