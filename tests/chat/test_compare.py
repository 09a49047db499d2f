"""One question at several budgets: the rows, their cost, and Stop."""

import threading
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, LocalEngine, Progress
from longva_demo.chat.answering import answer_in_process
from longva_demo.chat.compare import Budgets, Row, choose_budgets, compare
from longva_demo.errors import DemoError
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


def test_stopping_keeps_the_finished_rows(engine: LocalEngine, clip: Path) -> None:
    stopping, source = threading.Event(), make_source(engine, clip)
    rows = []
    for event in compare(engine, source, (8, 32), "What is there?", GREEDY, answer_in_process, stopping):
        if isinstance(event, Row):
            rows.append(event)
            stopping.set()
    assert [row.num_frames for row in rows] == [8]
