"""What the benchmarks do with their figures; nothing is timed here."""

import doctest
from pathlib import Path

import pytest

from bench import cost, fuzz, overlap, rows
from bench.process import NotRun, apart

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def test_rows_are_handed_on_and_become_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    assert rows.read(file) == []
    monkeypatch.setenv(rows.FILE, str(file))
    rows.add("reading", "one: 3.0 s", "1.5 s", rows.times(3.0, 1.5))
    rows.add("decoding", "not measured", "", "")
    assert rows.table(rows.read(file)).splitlines()[2:] == [
        "| reading | one: 3.0 s | 1.5 s | 2.00 × |",
        "| decoding | not measured |  |  |",
    ]


def test_the_page_takes_the_table_again_and_again() -> None:
    page = PAGE.read_text(encoding="utf-8")
    once = rows.fill(page, "new table")
    assert "\nnew table\n" in once
    assert rows.fill(once, "new table") == once
    assert rows.fill(once, "other") == rows.fill(page, "other")


def test_a_function_runs_in_a_process_of_its_own() -> None:
    assert apart("math:hypot", {"LANG": "C"}) == 0.0
    with pytest.raises(NotRun, match="ModuleNotFoundError"):
        apart("no_such_module:function")


@pytest.mark.parametrize("module", [rows, cost, overlap], ids=lambda module: module.__name__)
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("kind", fuzz.PICTURES)
def test_fuzzed_pictures_go_in_as_pictures(kind: str, tmp_path: Path) -> None:
    fuzz.write_original(tmp_path / f"original.{kind}", kind, fuzz.SEED)
    assert fuzz.attempt(tmp_path / f"original.{kind}") == "opened"
