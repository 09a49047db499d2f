"""The time that a stage of an answer still takes."""

import pytest

from longva_demo.chat import Progress, Stage
from longva_demo.page.i18n import message
from longva_demo.page.progress import TimeLeft, progress_message


def test_parts_of_frames_count() -> None:
    """One frame can take most of a minute."""
    now = iter((0.0, 0.0, 20.0, 20.0))
    time_left = TimeLeft(lambda: next(now))
    assert time_left.update(Progress(Stage.PREFILL, 0, 1, share=0.2)) is None
    assert time_left.update(Progress(Stage.PREFILL, 0, 1, share=0.6)) == pytest.approx(20.0)


def test_the_time_left_follows_the_rate_of_each_stage() -> None:
    now = 0.0
    time_left = TimeLeft(lambda: now)

    def at(seconds: float, stage: Stage, done: int) -> float | None:
        nonlocal now
        now = seconds
        return time_left.update(Progress(stage, done, 100))

    assert at(0.0, Stage.SAMPLING, 10) is None
    assert at(1.0, Stage.SAMPLING, 30) is None  # too early
    assert at(2.0, Stage.SAMPLING, 50) == pytest.approx(50 / 20)
    assert at(4.0, Stage.SAMPLING, 90) == pytest.approx(10 / 20)
    assert at(5.0, Stage.PREFILL, 0) is None
    assert at(15.0, Stage.PREFILL, 0) is None  # nothing is done yet
    assert at(25.0, Stage.PREFILL, 25) == pytest.approx(75 / 25 * 20)


def test_a_message_has_the_time_if_it_is_known() -> None:
    event = Progress(Stage.PREFILL, 8, 64)
    assert progress_message(event) == message("progress.prefill", done=8, total=64)
    assert progress_message(event, 12.5) == message("progress.prefill_time", done=8, total=64, duration=12.5)
    queued = Progress(Stage.QUEUED, 2, 3, seconds=9.0)
    assert progress_message(queued) == message("progress.queued_time", done=2, duration=9.0)
