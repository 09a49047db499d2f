"""The rows that benchmarks hand on to `python -m bench`, and the one table made of them."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "LONGVA_BENCH_ROWS"  # environment variable: where rows are handed on, one line of JSON each
HEADER = "| what | the other way | ours | ratio |\n|---|---|---|---|"
MARKS = ("<!-- table -->", "<!-- end of table -->")


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is the other way ÷ ours unless it says otherwise."""

    what: str
    other: str
    ours: str
    ratio: str


def add(what: str, other: str, ours: str, ratio: str) -> None:
    """Print a row, and hand it on where `python -m bench` asks for it."""
    print(f"{what}: {other} | {ours} | {ratio}", flush=True)
    if FILE in os.environ:
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Row(what, other, ours, ratio)), ensure_ascii=False) + "\n")


def times(other: float, ours: float) -> str:
    """How many times as much the other way takes.

    >>> times(3.0, 2.0), times(300.0, 2.0)
    ('1.50 ×', '150 ×')
    """
    ratio = other / ours
    return f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:,.0f} ×"


def read(path: Path) -> list[Row]:
    """The rows that were handed on."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: list[Row]) -> str:
    """Rows as markdown."""
    return "\n".join([HEADER, *(f"| {row.what} | {row.other} | {row.ours} | {row.ratio} |" for row in rows)])


def fill(page: str, text: str) -> str:
    """The page with `text` between its two marks."""
    begin, end = (page.index(mark) for mark in MARKS)
    return f"{page[:begin]}{MARKS[0]}\n{text}\n{page[end:]}"
