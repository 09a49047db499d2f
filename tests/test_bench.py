"""The benchmarks' bookkeeping. Nothing is timed here."""

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from bench import cost, find, fuzz, overlap, rows
from bench.process import ProcessFailed, run_in_process
from bench.tally import End, Tally, failures, report

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def test_rows_are_collected_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    assert rows.read(file) == []
    monkeypatch.setenv(rows.FILE, str(file))
    rows.add("prefill", "one: 3.0 s", "1.5 s", rows.times(3.0, 1.5))
    rows.add("decoding", "not measured", "", "")
    assert rows.table(rows.read(file)).splitlines() == [
        "| what | baseline | this project | ratio |",
        "|---|---|---|---|",
        "| prefill | one: 3.0 s | 1.5 s | 2.00 × |",
        "| decoding | not measured |  |  |",
    ]


def test_replacing_the_table_is_idempotent() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rows.HEADER in page
    once = rows.fill(page, "new table")
    assert "\nnew table\n" in once
    assert rows.fill(once, "new table") == once
    assert rows.fill(once, "other") == rows.fill(page, "other")


def test_run_in_process() -> None:
    assert run_in_process("math:hypot", {"LANG": "C"}) == 0.0
    with pytest.raises(ProcessFailed, match="ModuleNotFoundError"):
        run_in_process("no_such_module:function")


@pytest.mark.parametrize("module", [rows, cost, overlap, find], ids=lambda module: module.__name__)
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


GOOD_END = End(stuck=0, running=0, pages=0, early=500.0, late=540.0)


def test_a_load_test_passes_only_without_errors() -> None:
    tally = Tally()
    assert failures(tally, GOOD_END) == ["no answer was checked"]
    assert "median 0.0" in report(tally, GOOD_END)
    tally.check("clip-1.mp4", "Seven.", "Seven.")
    tally.fail(ValueError("the queue is full: 32 others are waiting; try again"))
    assert failures(tally, GOOD_END) == []
    left = replace(GOOD_END, stuck=2, running=1, pages=3, late=560.0)
    assert failures(tally, left) == [
        "2 clients stuck",
        "1 questions still running",
        "3 pages not released",
        "memory grew by a factor of 1.12",
    ]
    tally.check("clip-1.mp4", "Two.", "Seven.")
    tally.fail(ValueError("an unexpected KeyError"))
    assert failures(tally, GOOD_END) == ["1 wrong answers", "1 failed requests"]
    assert "checked: 2, wrong: 1; failed: 1, stuck: 0, queue full: 1" in report(tally, GOOD_END)


def test_latency_percentiles() -> None:
    tally = Tally(seconds=[float(second) for second in range(101)])
    assert "median 50.0, 95th percentile 95.0" in report(tally, GOOD_END)


@pytest.mark.parametrize("kind", fuzz.IMAGES)
def test_fuzzed_images_are_opened_as_images(kind: str, tmp_path: Path) -> None:
    fuzz.write_original(tmp_path / f"original.{kind}", kind, fuzz.SEED)
    assert fuzz.attempt(tmp_path / f"original.{kind}") == "opened"
