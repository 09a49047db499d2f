"""From scores to ranges, and which frames make their edges sharper."""

import doctest

import numpy as np
import pytest

from longva_demo.moments import curve, export, question
from longva_demo.moments.curve import (
    MAX_THRESHOLD,
    MIN_THRESHOLD,
    Range,
    ScoredFrame,
    Times,
    find_ranges,
    frames_at_edges,
    merge,
    threshold_of,
)
from longva_demo.moments.export import ranges_csv, ranges_vtt

TIMES = Times(np.arange(1000) / 10, 0.0, 100.0)  # ten frames a second


def scored(*scores: float, step: int = 100) -> list[ScoredFrame]:
    return [ScoredFrame(at * step, at * step / 10, score) for at, score in enumerate(scores)]


@pytest.mark.parametrize("module", [curve, export, question])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert (result.attempted > 0, result.failed) == (True, 0)


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [
        ((0.01, 0.02, 0.99, 0.98), 0.49, 0.51),
        ((0.3, 0.35, 0.3, 0.8, 0.85), 0.55, 0.65),  # a model that says yes too often
        ((0.02, 0.03, 0.6, 0.02), MIN_THRESHOLD, 0.4),  # and one that says it too rarely
        ((0.9, 0.95, 0.92), 0.5, 0.5),
        ((0.1, 0.2), 0.5, 0.5),
        ((0.7,), 0.5, 0.5),
        ((0.69, 0.7, 0.99, 1.0), MAX_THRESHOLD, MAX_THRESHOLD),
    ],
)
def test_the_threshold_follows_the_curve_within_limits(scores: tuple[float, ...], low: float, high: float) -> None:
    assert low <= threshold_of(scores) <= high


def test_ranges_begin_and_end_between_samples() -> None:
    first, last = find_ranges(scored(0.1, 0.9, 0.8, 0.1, 0.0, 0.7), 0.5, TIMES)
    # Somewhere in 0.1 to 10.0 s, and in 20.1 to 30.0 s: the frames in the middle.
    assert first == Range(5.0, 25.0, pytest.approx(0.85), 10.0)
    assert last == Range(45.0, 100.0, 0.7, 50.0)


def test_a_range_needs_a_frame_with_a_clear_yes() -> None:
    assert find_ranges(scored(0.1, 0.6, 0.65, 0.1), 0.4, TIMES) == []
    [found] = find_ranges(scored(0.1, 0.6, 0.75, 0.1), 0.4, TIMES)
    assert found.best == 20.0


def test_the_edges_of_neighbours_are_exact() -> None:
    [found] = find_ranges(scored(0.0, 0.9, 0.9, 0.0, step=1), 0.5, TIMES)
    assert (found.start, found.end) == (0.1, 0.3)


def test_the_best_frame_is_the_middle_one_of_equals() -> None:
    [found] = find_ranges(scored(0.9, 1.0, 1.0, 1.0, 0.9), 0.5, TIMES)
    assert found == Range(0.0, 100.0, pytest.approx(0.96), 30.0)


def test_edges_get_as_many_frames_as_their_precision_needs() -> None:
    frames = scored(0.0, 0.9, 0.9, 0.9, 0.0)
    # Each gap has 10 s; nine more frames make it one.
    wanted = frames_at_edges(frames, 0.5, TIMES, precision=1.0, budget=100)
    assert wanted == [*range(10, 100, 10), *range(310, 400, 10)]
    assert len(frames_at_edges(frames, 0.5, TIMES, precision=1.0, budget=5)) <= 5
    assert frames_at_edges(frames, 0.5, TIMES, precision=10.0, budget=0) == []


def test_a_short_range_gets_finer_edges() -> None:
    frames = scored(0.0, 0.9, 0.0, step=10)  # a second apart
    wanted = frames_at_edges(frames, 0.5, TIMES, precision=1.0, budget=100)
    assert wanted == [*range(1, 10), *range(11, 20)]


def test_edges_that_are_known_get_none() -> None:
    assert frames_at_edges(scored(0.0, 0.9, 0.0, step=1), 0.5, TIMES, precision=0.01, budget=100) == []
    assert frames_at_edges(scored(0.9, 0.9, 0.9), 0.5, TIMES, precision=1.0, budget=100) == []
    assert frames_at_edges(scored(0.0, 0.1), 0.5, TIMES, precision=1.0, budget=100) == []


def test_merging_keeps_the_order() -> None:
    frames = scored(0.0, 0.9)
    merged = merge(frames, [ScoredFrame(50, 5.0, 0.4), ScoredFrame(100, 10.0, 0.8)])
    assert [(one.index, one.score) for one in merged] == [(0, 0.0), (50, 0.4), (100, 0.8)]


def test_csv_and_chapters() -> None:
    ranges = [Range(1.5, 2.25, 0.9, 2.0)]
    assert ranges_csv(ranges) == "start,end,score,best\n1.500,2.250,0.900,2.000\n"
    vtt = ranges_vtt(ranges, "a --> b\n<c>")
    assert vtt == "WEBVTT\n\n00:00:01.500 --> 00:00:02.250\na --&gt; b &lt;c&gt;\n"
