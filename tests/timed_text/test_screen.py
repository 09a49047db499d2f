"""Text in frames: what is written, when, and that a sign that stays is one line."""

from pathlib import Path

import numpy as np
import pytest

from longva_demo.timed_text import Request, Update, read_lines
from longva_demo.timed_text.screen import Signs, similarity
from longva_demo.timed_text.screen_worker import shows_change
from longva_demo.video import FramePlan, probe
from tests.support.written import Sign, draw_clip

BLACK, WHITE = (20, 20, 20), (240, 240, 240)
SIZE = (640, 360)
SIGNS = [
    Sign("Departures platform 7", 2.0, 8.0, 40, 30, 24, "DejaVuSans.ttf", (BLACK, WHITE)),
    Sign("Annual report", 5.0, 12.0, 200, 150, 16, "DejaVuSerif.ttf", (WHITE, BLACK)),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("written") / "written.mp4", SIGNS, SIZE, seconds=12.0, seed=0)


def read(path: Path, **request: object) -> list[Update]:
    return list(read_lines(probe(path), Request(sources=("screen",), **request)))  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_written_and_when(written: Path) -> None:
    updates = read(written, num_frames=7)
    step = 12.0 / 6
    lines = updates[-1].lines
    assert [line.text for line in lines] == [sign.text for sign in SIGNS]
    for line, sign in zip(lines, SIGNS, strict=True):
        assert line.start == pytest.approx(sign.start, abs=step)
        assert line.end == pytest.approx(sign.end, abs=step)
    assert [update.done for update in updates] == [0, 1, 2, 3, 4, 5, 6, 6.5, 7]
    assert [update.is_complete for update in updates] == [False] * 8 + [True]


@pytest.mark.slow
def test_nothing_is_written(written: Path) -> None:
    update = read(written, num_frames=2, end_seconds=1.5)[-1]
    assert update.lines == ()
    assert update.notes == ("No text was found in 2 frames of written.mp4.",)


def test_a_sign_that_stays_is_one_line() -> None:
    """Its best reading is used. A number that changes is another line; two equal ones at once are two."""
    signs = Signs(FramePlan((0, 1, 2, 3), (0.0, 1.0, 2.0, 3.0), 0.0, 4.0))
    box = [0.0, 0.0, 10.0, 10.0]
    signs.add(0.0, [("Departurcs hall", 0.8, box), ("Page 12 of 30", 0.9, box)])
    signs.add(1.0, [("Departures hall", 0.9, box), ("Page 13 of 30", 0.9, box)])
    signs.add(2.0, [("EXIT", 0.9, box), ("EXIT", 0.9, box)])
    signs.add(3.0, [("Departures hall", 0.9, box)])
    assert [(line.start, line.end, line.text) for line in signs.lines] == [
        (0.0, 2.0, "Departures hall"),
        (0.0, 1.0, "Page 12 of 30"),
        (1.0, 2.0, "Page 13 of 30"),
        (2.0, 3.0, "EXIT"),
        (2.0, 3.0, "EXIT"),
        (3.0, 4.0, "Departures hall"),
    ]


def test_similar_lines() -> None:
    assert similarity("Departures", "Departures") == 100
    assert similarity("Departures hall", "Departurcs hall") > 80
    assert similarity("Departures hall", "Arrivals hall") < 80
    assert similarity("Page 12 of 30", "Page 13 of 30") == 0
    assert similarity("EXIT", "EXlT") == 0


def test_frames_without_a_change_are_read_once() -> None:
    random = np.random.default_rng(0)
    frame = random.integers(0, 200, (100, 150, 3), dtype=np.uint8)
    noisy = (frame + random.integers(0, 4, frame.shape)).astype(np.uint8)
    assert not shows_change(frame, frame)
    assert not shows_change(frame, noisy)
    changed = frame.copy()
    changed[40:50, 60:66] = 255 - changed[40:50, 60:66]
    assert shows_change(frame, changed)
    assert shows_change(frame[:5, :5], 255 - frame[:5, :5])
