"""One question at several budgets: the rows, their cost, and Stop."""

import threading
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, LocalEngine, Progress, VideoSource
from longva_demo.chat.answering import answer_in_process
from longva_demo.chat.compare import Budgets, Row, choose_budgets, compare
from longva_demo.chat.lines import ChosenLines
from longva_demo.chat.window_by_window import WindowsRow, ask_windows, split
from longva_demo.errors import DemoError
from longva_demo.timed_text import Line
from tests.chat.conftest import GREEDY, answer, make_source


def test_budgets_do_not_exceed_the_frames(engine: LocalEngine, clip: Path) -> None:
    chosen = choose_budgets(engine, make_source(engine, clip))  # 40 of 60 frames
    assert chosen == Budgets((8, 32, 40), 40, (128, 512, 2000), 60, is_limited_by_range=True)
    assert choose_budgets(engine, make_source(engine, clip, start_seconds=3.0)).compared == (8, 30)
    with pytest.raises(DemoError, match="has 6 frames here"):
        choose_budgets(engine, make_source(engine, clip, start_seconds=5.4))


def test_budgets_do_not_exceed_the_memory(engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = int(45 * engine.meter(1).kv_bytes / 0.6) + 1
    monkeypatch.setattr("longva_demo.chat.budget.free_memory", lambda _device: free)
    chosen = choose_budgets(engine, make_source(engine, clip))
    assert chosen == Budgets((8, 32, 40), 40, (128, 512, 2000), 45, is_limited_by_range=False)


def test_each_row_equals_a_chat_with_that_budget(engine: LocalEngine, clip: Path) -> None:
    source = make_source(engine, clip, 5, start_seconds=1.0)
    budgets = choose_budgets(engine, source).compared
    events = list(compare(engine, source, budgets, "What is there?", GREEDY, answer_in_process, threading.Event()))
    rows = [event for event in events if isinstance(event, Row)]
    assert [row.num_frames for row in rows] == [5, 8, 32]
    for row in rows:
        session = ChatSession(engine)
        session.set_source(make_source(engine, clip, row.num_frames, start_seconds=1.0))
        assert row.answer == answer(session, "What is there?")
        assert row.num_tokens == session.turns[-1].stats.num_tokens
        assert row.seconds > 0
    assert isinstance(events[0], Progress), "progress comes before the first row"


def test_an_answer_with_lines_is_compared_with_one_without(engine: LocalEngine, clip: Path) -> None:
    """Each budget is given the same lines, and the last row none."""
    source, lines = make_source(engine, clip, 8), (Line(0.0, 1.0, "a star " * 40, "speech"),)
    budgets = choose_budgets(engine, source, min_count=1).compared[:1]
    assert budgets == (8,)
    stopping = threading.Event()
    events = compare(engine, source, budgets, "What is there?", GREEDY, answer_in_process, stopping, lines)
    with_lines, without = (event for event in events if isinstance(event, Row))
    assert (with_lines.num_frames, with_lines.num_lines) == (8, 1)
    assert (without.num_frames, without.num_lines) == (8, 0)
    session = ChatSession(engine)
    session.set_source(make_source(engine, clip, 8))
    assert answer(session, "What is there?") == without.answer
    assert session.turns[-1].stats.num_tokens == without.num_tokens < with_lines.num_tokens - 40
    session.lines = ChosenLines(lines)
    list(session.retry(GREEDY))
    assert session.turns[-1].answer == with_lines.answer
    session.close()


def test_stopping_keeps_the_finished_rows(engine: LocalEngine, clip: Path) -> None:
    stopping, source = threading.Event(), make_source(engine, clip)
    rows = []
    for event in compare(engine, source, (8, 32), "What is there?", GREEDY, answer_in_process, stopping):
        if isinstance(event, Row):
            rows.append(event)
            stopping.set()
    assert [row.num_frames for row in rows] == [8]


def test_windows_cover_the_frames(engine: LocalEngine, clip: Path) -> None:
    plan = make_source(engine, clip, 40, start_seconds=1.0).plan
    windows = split(plan)
    assert [window.num_frames for window in windows] == [5] * 8
    assert sum((window.indices for window in windows), ()) == plan.indices
    assert [window.end_seconds for window in windows] == [*(one.start_seconds for one in windows[1:]), plan.end_seconds]
    assert windows[0].start_seconds == 1.0
    assert len(split(make_source(engine, clip, 10).plan)) == 2
    assert len(split(make_source(engine, clip, 7).plan)) == 1


def test_each_window_is_asked_on_its_own(engine: LocalEngine, clip: Path) -> None:
    source = make_source(engine, clip, 10)
    *progress, row = ask_windows(engine, source, "What is there?", GREEDY, answer_in_process, threading.Event())
    assert all(isinstance(one, Progress) for one in progress)
    assert isinstance(row, WindowsRow)
    lines, num_tokens = [], 0
    for second, window in zip(("0:00", "0:03"), split(source.plan), strict=True):
        session = ChatSession(engine)
        alone = make_source(engine, clip, 10)
        session.set_source(VideoSource(alone.info, window, engine.processor))
        lines.append(f"{second} {answer(session, 'What is there?')}")
        num_tokens += session.turns[-1].stats.num_tokens
    assert row.answer == "\n".join(lines)
    assert (row.num_frames, row.num_windows, row.num_tokens) == (10, 2, num_tokens)


def test_each_window_is_given_its_own_lines(engine: LocalEngine, clip: Path) -> None:
    source, stopping = make_source(engine, clip, 10), threading.Event()
    lines = (Line(0.5, 1.0, "a star", "speech"), Line(4.5, 5.0, "a circle " * 30, "speech"))
    *_, without = ask_windows(engine, source, "What is there?", GREEDY, answer_in_process, stopping)
    *_, row = ask_windows(engine, source, "What is there?", GREEDY, answer_in_process, stopping, lines)
    assert isinstance(without, WindowsRow)
    assert isinstance(row, WindowsRow)
    assert (without.num_lines, row.num_lines) == (0, 2), "one for each window"
    assert row.num_tokens > without.num_tokens + 60


def test_stopped_or_of_few_frames_no_windows_are_asked(engine: LocalEngine, clip: Path) -> None:
    stopping = threading.Event()
    few = ask_windows(engine, make_source(engine, clip, 7), "What?", GREEDY, answer_in_process, stopping)
    assert list(few) == []
    events = ask_windows(engine, make_source(engine, clip, 40), "What?", GREEDY, answer_in_process, stopping)
    assert isinstance(next(events), Progress)
    stopping.set()
    assert not any(isinstance(event, WindowsRow) for event in events)
