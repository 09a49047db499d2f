"""Texts in HTML and toasts are escaped, and numbers are human-readable."""

import asyncio
import doctest
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from longva_demo.chat import AnswerStats, CacheStatus
from longva_demo.errors import BudgetError, VideoError
from longva_demo.page import attribution, checks, downloads, formatting, selection
from longva_demo.page.components import frame_browser
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.errors import plain, toast
from longva_demo.page.facts import stats_messages
from longva_demo.video import FrameBatch

MODULES = [attribution, checks, downloads, formatting, selection]

NASTY = "<img src=x onerror=alert(1)>.mp4"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_toast_is_one_escaped_line() -> None:
    shown = toast(VideoError(f"{NASTY} is empty", "upload another"))
    assert shown.message == "&lt;img src=x onerror=alert(1)&gt;.mp4 is empty; upload another"
    assert toast(BudgetError("too much", "use less", 3)).title == "Too many frames"


def test_an_unexpected_error_is_one_line_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    @plain
    def broken() -> None:
        raise KeyError("/secret/path")

    with pytest.raises(Exception, match="unexpected KeyError") as caught:
        broken()
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


def test_stats() -> None:
    stats = AnswerStats(num_new_tokens=9, seconds_to_first_token=0.42, seconds=2.42, cache=CacheStatus.HIT)
    lines = stats_messages(stats, "one two three four five six", has_frames=True)
    assert lines == [
        {"key": "stats.first_word", "duration": 0.42},
        {"key": "stats.speed", "count": 3},
        {"key": "stats.reused"},
    ]


def frame(index: int) -> FrameBatch:
    return FrameBatch(pixels=np.zeros((1, 36, 64, 3), np.uint8), seconds=(index / 10,), indices=(index,))


def records(sheets: Sheets) -> list[tuple[dict[str, Any], bytes]]:
    """The stream as a browser reads it: the facts and the JPEG of each sheet."""

    async def collect() -> bytes:
        return b"".join([part async for part in sheets.stream()])

    with ThreadPoolExecutor(1) as executor:  # Playwright runs an event loop in this thread
        data = executor.submit(asyncio.run, collect()).result()
    found = []
    while data:
        header, picture = struct.unpack(">II", data[:8])
        found.append((json.loads(data[8 : 8 + header]), data[8 + header : 8 + header + picture]))
        data = data[8 + header + picture :]
    return found


def test_the_browser_is_told_of_frames_that_are_not_in_a_sheet_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_browser, "PROGRESS_SECONDS", 0.0)
    sheets = Sheets(2000)
    for index in range(20):
        sheets.add(frame(index))

    async def collect() -> list[bytes]:
        parts = []
        async for part in sheets.stream():
            parts.append(part)
            if b'"done": 21' in part:
                sheets.finish()
            elif b'"done"' in part:
                sheets.add(frame(20))
        return parts

    with ThreadPoolExecutor(1) as executor:
        parts = executor.submit(asyncio.run, collect()).result()
    told = [part for part in parts if b'"done"' in part]
    assert [json.loads(part[8:]) for part in told] == [{"count": 0, "done": 20}, {"count": 0, "done": 21}]
    assert all(struct.unpack(">II", part[:8]) == (len(part) - 8, 0) for part in told)


@pytest.mark.parametrize("total", [1, 4, 5, 64, 2000])
def test_sheets_contain_every_frame_once_in_few_records(total: int) -> None:
    sheets = Sheets(total)
    for index in range(total):
        sheets.add(frame(index))
    sheets.finish()
    found = records(sheets)
    assert [index for facts, _ in found for index in facts["indices"]] == list(range(total))
    assert len(found) <= 18
    for facts, jpeg in found:
        with Image.open(io.BytesIO(jpeg)) as sheet:
            assert sheet.width == facts["columns"] * facts["width"]
            assert facts["columns"] * sheet.height >= facts["count"] * facts["height"]


def test_2000_noisy_frames_stay_below_6_megabytes() -> None:
    rng = np.random.default_rng(0)
    sheets = Sheets(2000)
    for index in range(2000):
        pixels = rng.integers(0, 256, (1, 33, 59, 3), np.uint8).repeat(2, 1).repeat(2, 2)
        sheets.add(FrameBatch(pixels=pixels, seconds=(index / 10,), indices=(index,)))
    sheets.finish()
    assert sum(len(jpeg) for _, jpeg in records(sheets)) < 6_000_000
