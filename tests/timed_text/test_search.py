"""Search: stems, umlauts, slips, beginnings of words, scripts without spaces; and retrieval by score."""

import time

import pytest

from longva_demo.timed_text import Line, matching_lines
from longva_demo.timed_text.search import LineIndex

TEXTS = [
    "The lecturer runs through the proof twice.",
    "Die Größe der Häuser überrascht alle.",
    "An elephant walks into the café.",
    "请在这里下车，谢谢。",
    "Price: 12.50 EUR, room B-204",
    "Running is healthy; the runner said so.",
    "Les étudiantes arrivent demain.",
]
LINES = [Line(float(second), second + 1.0, text, "subtitles") for second, text in enumerate(TEXTS)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("run", [0, 5]),
        ("RUNS", [0, 5]),
        ("running", [0, 5]),
        ("größe", [1]),
        ("Grösse", [1]),
        ("groesse", [1]),
        ("grosse", [1]),
        ("hauser", [1]),
        ("haus", [1]),
        ("haeuser", [1]),
        ("cafe", [2]),
        ("elefant", [2]),
        ("elehpant", [2]),
        ("elep", [2]),
        ("lecturr", [0]),
        ("下车", [3]),
        ("车", [3]),
        ("12.50", [4]),
        ("B-204", [4]),
        ("étudiante", [6]),
        ("the elephant", [2]),
        ("proof elephant", [0, 2]),
        ("zebra", []),
        ("?!", []),
        ("", list(range(7))),
        ("  ", list(range(7))),
    ],
)
def test_matching_lines(query: str, found: list[int]) -> None:
    assert [LINES.index(line) for line in matching_lines(LINES, query)] == found


def test_short_words_are_not_guessed() -> None:
    """A slip in three letters would fit too many words."""
    assert matching_lines([Line(0.0, 1.0, "the cat", "speech")], "car") == []


def test_best_lines_come_first() -> None:
    index = LineIndex(LINES)
    assert index.best("Which animal walks into the cafe?")[0] == 2
    assert index.best("How large are the houses, that is their Größe?")[0] == 1
    assert 3 not in index.best("Which animal walks into the cafe?")


def test_no_lines() -> None:
    assert matching_lines([], "star") == []
    assert LineIndex([]).best("star") == []
    assert LineIndex([Line(0.0, 1.0, "…", "screen")]).best("star") == []


def test_a_long_film_is_searched_as_one_types() -> None:
    """5,000 lines of a hundred different words."""
    words = [f"{first}{second}ing" for first in "bcdfghklmn" for second in "aeiouyalelilol"]
    lines = [
        Line(
            float(number), number + 1.0, " ".join(words[(number * 7 + k * k) % len(words)] for k in range(9)), "speech"
        )
        for number in range(5000)
    ]
    index = LineIndex(lines)
    started = time.perf_counter()
    assert index.matching("baing ceing")
    assert index.matching("xaing") != index.matching("ba")
    assert time.perf_counter() - started < 2


def test_a_query_of_any_length_is_bounded() -> None:
    index = LineIndex(LINES)
    started = time.perf_counter()
    index.matching("elephant " * 100_000)
    index.matching("a" * 1_000_000)
    index.matching(" ".join(f"word{number}" for number in range(100_000)))
    assert time.perf_counter() - started < 5
