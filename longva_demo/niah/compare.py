"""Two runs side by side: another checkpoint, quantisation or attention, on the same questions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from longva_demo.errors import DemoError, one_line
from longva_demo.niah.grid import Grid
from longva_demo.niah.plot import DIFFERENCE, Panel, draw_panels
from longva_demo.niah.results import RESULTS, Table, mean, parse_result, score_table, table_lines
from longva_demo.niah.run import Result

# Of what a run records, what may differ between runs on the same questions.
MODEL_FACTS = ("model", "revision", "quant", "dtype")


@dataclass(frozen=True)
class Run:
    """A finished or stopped run: what was tested, and its results."""

    folder: Path
    test: dict[str, Any]
    results: list[Result]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a run's folder, or its results.jsonl. An incomplete last line, from a stopped run, is ignored.

        Raises:
            DemoError: there is no run.
        """
        file = folder / RESULTS if folder.is_dir() else folder
        try:
            text = file.read_bytes()
            first, *lines = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
            return cls(file.parent, dict(first), [parse_result(values) for values in lines])
        except OSError as error:
            raise DemoError(f"cannot read {file} ({error.strerror or error})", "name the --out of a run") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DemoError(
                f"{file} is not the result of a needle test ({error})", "name the --out of a run"
            ) from error

    @property
    def name(self) -> str:
        return one_line(str(self.folder))


class Comparison:
    """The cells that both runs have.

    Raises:
        DemoError: the runs tested different things, or have no cell in common.
    """

    def __init__(self, first: Run, second: Run) -> None:
        different = [
            name
            for name in sorted({*first.test, *second.test} - {*MODEL_FACTS, "attribution"})
            if first.test.get(name) != second.test.get(name)
        ]
        if different:
            what = f"{first.name} and {second.name} are different tests (they differ in {', '.join(different)})"
            raise DemoError(what, "compare runs of the same test on the same haystack")
        self.runs = (first, second)
        cells = {result.cell for result in first.results} & {result.cell for result in second.results}
        if not cells:
            raise DemoError(
                f"{first.name} and {second.name} have no cell in common", "run the same --frames and --depths"
            )
        self.results = tuple(sorted_results(run.results, cells) for run in self.runs)
        frames, depths = {cell.frames for cell in cells}, {cell.depth for cell in cells}
        self.grid = Grid(tuple(sorted(frames)), tuple(sorted(depths)))

    @property
    def tables(self) -> tuple[Table, Table, Table]:
        """Mean scores of both runs, and the second's less the first's."""
        first, second = (score_table(results) for results in self.results)
        return first, second, {key: second[key] - first[key] for key in first}

    @property
    def titles(self) -> tuple[str, str, str]:
        first, second = (f"{run.name} ({self._model(run)})" for run in self.runs)
        return first, second, "difference (second - first)"

    def _model(self, run: Run) -> str:
        return one_line(", ".join(str(run.test.get(name)) for name in MODEL_FACTS if run.test.get(name) is not None))

    def draw(self, files: Sequence[Path]) -> None:
        """Write both heat maps and their difference as one picture.

        Raises:
            DemoError: the files cannot be written.
        """
        first, second, change = self.tables
        titles = self.titles
        panels = [Panel(first, titles[0]), Panel(second, titles[1]), Panel(change, titles[2], DIFFERENCE)]
        try:
            for file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
            draw_panels(panels, self.grid, files)
        except OSError as error:
            raise DemoError(f"cannot write {files[0]} ({error.strerror or error})", "choose another --out") from error

    def facts(self) -> dict[str, Any]:
        """For JSON. `only_first` and `only_second` count the cells that one run alone has right."""
        pairs = [(one.forced, two.forced) for one, two in zip(*self.results, strict=True)]
        return {
            "test": self.runs[0].test.get("test"),
            "cells": len(pairs),
            "first": mean(one for one, _ in pairs),
            "second": mean(two for _, two in pairs),
            "only_first": pairs.count((True, False)),
            "only_second": pairs.count((False, True)),
        }

    def report(self) -> str:
        """Both tables, their difference, and the means."""
        lines = []
        for title, table, form in zip(self.titles, self.tables, ("7.2f", "7.2f", "+7.2f"), strict=True):
            lines += [title, *table_lines(table, self.grid, form), ""]
        facts = self.facts()
        one, two = facts["first"], facts["second"]
        lines += [
            f"{facts['test']}, {facts['cells']:,} cells: {one:.3f} and {two:.3f} ({two - one:+.3f})",
            f"right in the first only: {facts['only_first']:,}; in the second only: {facts['only_second']:,}",
        ]
        return "\n".join(lines)


def sorted_results(results: Sequence[Result], cells: set[Any]) -> list[Result]:
    """The results of these cells, in one order for all runs."""
    kept = [result for result in results if result.cell in cells]
    return sorted(kept, key=lambda result: (result.cell.frames, result.cell.depth, result.cell.needle))
