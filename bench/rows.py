"""The rows that benchmarks pass to `python -m bench`, and the table made of them."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "BENCH_ROWS"  # environment variable: the file that collects rows, one line of JSON per row
HEADER = "| what | baseline | this project | ratio |\n|---|---|---|---|"
MARKERS = ("<!-- table -->", "<!-- end of table -->")


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is baseline ÷ this project unless it says otherwise."""

    what: str
    baseline: str
    this_project: str
    ratio: str


def add(what: str, baseline: str, this_project: str, ratio: str) -> None:
    """Print a row, and append it to the file that `python -m bench` collects."""
    print(f"{what}: {baseline} | {this_project} | {ratio}", flush=True)
    if FILE in os.environ:
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Row(what, baseline, this_project, ratio)), ensure_ascii=False) + "\n")


def times(baseline: float, this_project: float) -> str:
    """Format baseline ÷ this project.

    >>> times(3.0, 2.0), times(300.0, 2.0)
    ('1.50 ×', '150 ×')
    """
    ratio = baseline / this_project
    return f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:,.0f} ×"


def read(path: Path) -> list[Row]:
    """The collected rows."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = (f"| {row.what} | {row.baseline} | {row.this_project} | {row.ratio} |" for row in rows)
    return "\n".join([HEADER, *lines])


def fill(page: str, text: str) -> str:
    """Replace what is between the two markers of `page` by `text`."""
    begin, end = (page.index(marker) for marker in MARKERS)
    return f"{page[:begin]}{MARKERS[0]}\n{text}\n{page[end:]}"
