"""Two runs side by side, and the plan of a test."""

import json
from pathlib import Path

import pytest
from PIL import Image

from longva_demo.cli.main import main
from longva_demo.errors import DemoError
from longva_demo.model.estimate import GPU_EFFICIENCY, PEAK_FLOP
from longva_demo.niah import Cell, Grid, Result, ResultFile
from longva_demo.niah.compare import Comparison, Run
from longva_demo.niah.plan import Plan

TEST = {"test": "V-NIAH", "model": "m", "quant": "none", "haystack": "h", "needles": [["n", "?", "!"]]}


def write_run(folder: Path, right: dict[tuple[int, float, int], bool], **test: object) -> Path:
    file = ResultFile(folder, {**TEST, **test})
    for cell, is_right in right.items():
        file.add(Result(Cell(*cell), "", is_right, is_right, None, 1.0))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    first = {(200, 0.0, 0): True, (200, 0.0, 1): True, (200, 1.0, 0): False, (400, 0.0, 0): True}
    second = {(200, 1.0, 0): True, (200, 0.0, 1): False, (200, 0.0, 0): False, (600, 0.0, 0): True}
    return write_run(tmp_path / "bf16", first), write_run(tmp_path / "4bit", second, quant="4bit")


def test_a_comparison_counts_common_cells(runs: tuple[Path, Path]) -> None:
    comparison = Comparison(*map(Run.read, runs))
    assert comparison.grid == Grid((200,), (0.0, 1.0))
    assert comparison.tables == (
        {(200, 0.0): 1.0, (200, 1.0): 0.0},
        {(200, 0.0): 0.0, (200, 1.0): 1.0},
        {(200, 0.0): -1.0, (200, 1.0): 1.0},
    )
    facts = comparison.facts()
    assert (facts["cells"], facts["only_first"], facts["only_second"]) == (3, 2, 1)
    assert (facts["first"], facts["second"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_the_command_prints_and_draws(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["niah", "compare", *map(str, runs), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "bf16 (m, none)" in printed[0]
    assert printed[1:4] == ["depth    200", "  0%    1.00", "100%    0.00"]
    assert "  0%   -1.00" in printed
    assert "V-NIAH, 3 cells: 0.667 and 0.333 (-0.333)" in printed
    assert "right in the first only: 2; in the second only: 1" in printed
    wide = Image.open(out / "compare.png")
    assert wide.size[0] > 3 * wide.size[1]  # side by side
    assert (out / "compare.svg").read_text().startswith("<?xml")
    assert main(["niah", "compare", *map(str, runs), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 3


def test_runs_that_cannot_be_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first = Run.read(runs[0])
    cell = {(200, 0.0, 0): True}
    for name, change in (("haystack", "other"), ("test", "V-NIAH-D (1)")):
        other = write_run(tmp_path / name, cell, **{name: change})
        with pytest.raises(DemoError, match=f"different tests .*differ in {name}"):
            Comparison(first, Run.read(other))
    with pytest.raises(DemoError, match="no cell in common"):
        Comparison(first, Run.read(write_run(tmp_path / "other", {(800, 0.0, 0): True})))


@pytest.mark.parametrize("content", [None, "", "[]\n", '{"a": 1}\n{"cell": 1}\n', "{\n"])
def test_a_file_that_is_not_a_run_is_one_line(
    content: str | None, tmp_path: Path, runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "results.jsonl").write_text(content)
    assert main(["niah", "compare", str(runs[0]), str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_a_stopped_run_can_be_compared(runs: tuple[Path, Path]) -> None:
    file = runs[0] / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-7])
    assert len(Run.read(runs[0]).results) == 3


def test_the_plan_is_that_of_the_published_model() -> None:
    plan = Plan(Grid((200, 3000), (0.0, 1.0)), num_needles=5)
    small, large = plan.sizes
    assert small.num_tokens == pytest.approx(144 * 200 + 60, abs=30)
    assert small.kv_bytes == small.num_tokens * 57_344
    assert (small.fits_context, large.fits_context) == (True, False)
    tokens = 144 * 200
    whole = 13.05e9 * tokens + 200_704 * tokens**2
    assert small.cell_flop == pytest.approx(whole / 2, rel=0.01)  # nothing at depth 1, everything at depth 0
    assert small.cell_seconds["A100"] == small.cell_flop / (GPU_EFFICIENCY * PEAK_FLOP["A100"])
    assert plan.encoding_flop == pytest.approx(3000 * 0.385e12, rel=0.02)
    shared = whole + 13.05e9 * 144 * 3000 + 200_704 * (144 * 3000) ** 2
    assert plan.total_flop == pytest.approx(plan.encoding_flop + 6 * shared, rel=0.01)


def test_the_plan_needs_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["niah", "--plan"]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed[2:17]]
    assert [row[0] for row in rows] == [f"{frames:,}" for frames in range(200, 3001, 200)]
    assert rows[9][1:5] == ["288,038", "16.5", "34.9", "25.2"]
    assert main(["niah", "--plan", "--frames", "200", "--count", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["cells"], len(facts["sizes"])) == ("LongVA-7B", 5, 1)
