"""The results of a run: one JSON line per cell, so that a stopped run loses nothing, and the means at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from longva_demo import result_file
from longva_demo.errors import DemoError
from longva_demo.niah.grid import Cell, Grid
from longva_demo.niah.run import Result

RESULTS = "results.jsonl"
MAX_FRAMES = 2000  # of `forced_to_2000`
Table = dict[tuple[int, float], float]  # values by (frames, depth)


class ResultFile:
    """`results.jsonl` in a folder: a line that describes the test, then one per cell. An existing file is resumed.

    Raises:
        DemoError: the folder contains results of a different test, or is not writable.
    """

    def __init__(self, folder: Path, test: dict[str, Any]) -> None:
        self._file = result_file.ResultFile(folder / RESULTS, test)
        try:
            self.results = [parse_result(row) for row in self._file.rows]
        except (TypeError, KeyError, AttributeError) as error:
            raise DemoError(f"{self.path} is damaged ({error})", result_file.REMEDY) from error

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def done(self) -> set[Cell]:
        return {result.cell for result in self.results}

    def add(self, result: Result) -> None:
        """Save a result. It is on disk when this returns."""
        self.results.append(result)
        self._file.add(asdict(result))


def parse_result(values: dict[str, Any]) -> Result:
    return Result(**{**values, "cell": Cell(**values["cell"])})


@dataclass(frozen=True)
class Summary:
    """Shares of the cells, None if there are none; see `Result`. `forced` is the published score."""

    cells: int
    forced: float | None
    forced_to_2000: float | None
    generated: float | None
    attributed: float | None  # of the cells with a correct generated answer

    @classmethod
    def of(cls, results: Sequence[Result]) -> Self:
        right = [result for result in results if result.generated and result.attributed is not None]
        return cls(
            cells=len(results),
            forced=mean(result.forced for result in results),
            forced_to_2000=mean(result.forced for result in results if result.cell.frames <= MAX_FRAMES),
            generated=mean(result.generated for result in results),
            attributed=mean(bool(result.attributed) for result in right),
        )

    def lines(self) -> list[str]:
        """The summary as text."""
        rows = (
            ("score, teacher-forced", self.forced),
            (f"score, up to {MAX_FRAMES:,} frames", self.forced_to_2000),
            ("generated answer correct", self.generated),
            ("of these, attributed to the needle", self.attributed),
        )
        return [f"{name:40} {value:.3f}" for name, value in rows if value is not None]


def mean(values: Iterable[bool]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def score_table(results: Sequence[Result]) -> Table:
    """Mean published score by (frames, depth)."""
    found: dict[tuple[int, float], list[bool]] = {}
    for result in results:
        found.setdefault((result.cell.frames, result.cell.depth), []).append(result.forced)
    return {key: sum(values) / len(values) for key, values in found.items()}


def table_lines(table: Table, grid: Grid, form: str = "7.2f") -> list[str]:
    """Values as text, frames across and depth down. `form` is the format of a value, of width 7."""
    lines = ["depth" + "".join(f"{frames:>7,}" for frames in grid.frames)]
    for depth in sorted(set(grid.depths)):
        values = (table.get((frames, depth)) for frames in grid.frames)
        lines.append(f"{depth:4.0%} " + "".join("      –" if value is None else f"{value:{form}}" for value in values))
    return lines
