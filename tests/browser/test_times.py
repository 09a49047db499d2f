"""The page formats times like the library."""

import json
from pathlib import Path

import pytest

from longva_demo.errors import DemoError
from longva_demo.times import format_time, parse_time
from longva_demo.video import plan_frames, probe
from tests.support.browser import Visit
from tests.support.server import REPOSITORY

TABLE = json.loads((Path(__file__).parents[1] / "data" / "times.json").read_text())


def test_the_script_and_the_library_agree(visit: Visit) -> None:
    found = visit.page.evaluate("(rows) => rows.map((row) => formatTime(row.seconds, row.decimals))", TABLE)
    assert found == [row["text"] for row in TABLE]


def test_both_read_the_same_times(visit: Visit) -> None:
    texts = [
        *(row["text"] for row in TABLE),
        "90",
        " 1:30 ",
        "1:02:03.5",
        "0",
        "",
        "abc",
        "1:2:3:4",
        "1::2",
        "-1",
        "nan",
    ]

    def read(text: str) -> float | None:
        try:
            return parse_time(text)
        except DemoError:
            return None

    found = visit.page.evaluate(
        "(texts) => texts.map((text) => parseTime(text)).map((one) => isNaN(one) ? null : one)", texts
    )
    assert found == [pytest.approx(seconds) if seconds is not None else None for seconds in map(read, texts)]


def test_captions_on_the_page_are_those_of_the_contact_sheet(visit: Visit) -> None:
    visit.page.fill(".budget-number", "16")
    visit.page.press(".budget-number", "Enter")
    clip = REPOSITORY / "examples" / "shapes.mp4"
    visit.upload(clip)
    visit.wait_for_frames(16)
    shown = visit.page.locator(".film button time").all_text_contents()
    assert shown == [format_time(seconds, 1) for seconds in plan_frames(probe(clip), 16).seconds]
