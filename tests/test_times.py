"""Times as text: one formatter for the contact sheet, the command line and the page, and how they are read back."""

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from longva_demo import times
from longva_demo.errors import DemoError
from longva_demo.times import format_time, parse_time

# The page's script is held to the same table in browser/test_times.py.
TABLE = json.loads((Path(__file__).parent / "data" / "times.json").read_text())


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(times).failed == 0


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row['seconds']}-{row['decimals']}")
def test_a_time_is_truncated_and_read_back(row: dict[str, Any]) -> None:
    assert format_time(row["seconds"], row["decimals"]) == row["text"]
    shown = parse_time(row["text"])
    assert shown <= max(0, row["seconds"]) + 1e-9
    assert shown == pytest.approx(max(0, row["seconds"]), abs=10 ** -row["decimals"])


@pytest.mark.parametrize("text", ["", "abc", "1:2:3:4", "1::2", "nan", "-1"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(DemoError, match="is not a valid time; use seconds"):
        parse_time(text)
