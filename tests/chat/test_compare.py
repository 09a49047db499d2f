"""One question at several budgets: the rows, their cost, and Stop."""

import threading
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, Engine, Progress
from longva_demo.chat.answering import answer_in_process
from longva_demo.chat.compare import Row, budgets_for, compare
from longva_demo.errors import DemoError
from tests.chat.conftest import GREEDY, answer, make_source


def test_budgets_do_not_exceed_the_frames(engine: Engine, clip: Path) -> None:
    assert budgets_for(engine, make_source(engine, clip)) == [8, 32]  # of 60 frames
    with pytest.raises(DemoError, match="has 30 frames here"):
        budgets_for(engine, make_source(engine, clip, start_seconds=3.0))


def test_each_row_equals_a_chat_with_that_budget(engine: Engine, clip: Path) -> None:
    source = make_source(engine, clip, 5, start_seconds=1.0)
    events = list(compare(engine, source, "What is there?", GREEDY, answer_in_process, threading.Event()))
    rows = [event for event in events if isinstance(event, Row)]
    assert [row.num_frames for row in rows] == [8, 32]
    for row in rows:
        session = ChatSession(engine)
        session.set_source(make_source(engine, clip, row.num_frames, start_seconds=1.0))
        assert row.answer == answer(session, "What is there?")
        assert row.num_tokens == session.turns[-1].stats.num_tokens
        assert row.seconds > 0
    assert isinstance(events[0], Progress), "progress comes before the first row"


def test_stopping_keeps_the_finished_rows(engine: Engine, clip: Path) -> None:
    stopping = threading.Event()
    rows = []
    for event in compare(engine, make_source(engine, clip), "What is there?", GREEDY, answer_in_process, stopping):
        if isinstance(event, Row):
            rows.append(event)
            stopping.set()
    assert [row.num_frames for row in rows] == [8]
