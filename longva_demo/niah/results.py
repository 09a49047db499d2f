"""What a run found: one JSON line a cell, so that nothing is lost when it is stopped; and the means at its end."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from longva_demo.errors import DemoError
from longva_demo.niah.run import Cell, Result

RESULTS = "results.jsonl"
# LongVA-7B in the published run (vision_niah/niah_output/LongVA-7B of the public code, 200 to 3,000 frames).
PUBLISHED = {"forced": 0.909, "forced_to_2000": 0.973}
TO = 2000


class ResultFile:
    """`results.jsonl` in a folder: first what is tested, then a line for each cell. Opened again, it goes on.

    Raises:
        DemoError: the folder holds another test's results, or cannot be written to.
    """

    def __init__(self, folder: Path, test: dict[str, Any]) -> None:
        self.path = folder / RESULTS
        self.results: list[Result] = []
        self._test = json.loads(json.dumps(test))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                self._read()
            else:
                self._append(self._test)
        except OSError as error:
            raise DemoError(
                f"{self.path} cannot be written ({error.strerror or error})", "choose another --out"
            ) from error

    @property
    def done(self) -> set[Cell]:
        return {result.cell for result in self.results}

    def add(self, result: Result) -> None:
        """Keep a result; it is on disk when this returns."""
        self.results.append(result)
        try:
            self._append(asdict(result))
        except OSError as error:
            raise DemoError(f"{self.path} cannot be written ({error.strerror or error})", "free some space") from error

    def _append(self, values: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        """A last line without its end was being written when the run was killed: it is taken away."""
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()] or [self._test]
            if first != self._test:
                different = [name for name in {*first, *self._test} if first.get(name) != self._test.get(name)]
                raise DemoError(
                    f"{self.path} holds another test (not the same: {', '.join(sorted(different))})",
                    "choose another --out, or delete the file",
                )
            self.results = [Result(**{**values, "cell": Cell(**values["cell"])}) for values in lines]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DemoError(f"{self.path} is damaged ({error})", "choose another --out, or delete the file") from error
        if whole != text:
            os.truncate(self.path, len(whole))
        if not whole:
            self._append(self._test)


@dataclass(frozen=True)
class Summary:
    """Shares of the cells, None where there are none; see `Result`. `forced` is the published score."""

    cells: int
    forced: float | None
    forced_to_2000: float | None
    generated: float | None
    attributed: float | None  # of the cells with a right generated answer

    @classmethod
    def of(cls, results: Sequence[Result]) -> Self:
        right = [result for result in results if result.generated and result.attributed is not None]
        return cls(
            cells=len(results),
            forced=mean(result.forced for result in results),
            forced_to_2000=mean(result.forced for result in results if result.cell.frames <= TO),
            generated=mean(result.generated for result in results),
            attributed=mean(bool(result.attributed) for result in right),
        )

    def lines(self) -> list[str]:
        """What a person wants to know, beside the published figures."""
        rows = (
            ("score, teacher-forced", self.forced, f"LongVA-7B, 200 to 3,000 frames: {PUBLISHED['forced']}"),
            (f"the same to {TO:,} frames", self.forced_to_2000, f"LongVA-7B: {PUBLISHED['forced_to_2000']}"),
            ("generated answer right", self.generated, ""),
            ("right ones that drew most on the needle", self.attributed, ""),
        )
        return [
            f"{name:40} {value:.3f}  {note and f'({note})'}".rstrip() for name, value, note in rows if value is not None
        ]


def mean(values: Iterable[bool]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def score_table(results: Sequence[Result]) -> dict[tuple[int, float], float]:
    """Mean published score by (frames, depth)."""
    found: dict[tuple[int, float], list[bool]] = {}
    for result in results:
        found.setdefault((result.cell.frames, result.cell.depth), []).append(result.forced)
    return {key: sum(values) / len(values) for key, values in found.items()}
