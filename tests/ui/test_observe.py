"""What the operator sees of the questions: the log, /healthz, /metrics, and the same figures in `doctor`."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from longva_demo.chat import ChatSession, Engine, Progress, Sampling, TextDelta, VideoSource
from longva_demo.doctor import describe_server, server_figures
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.ui.asking import Asker, ask_here
from longva_demo.ui.observe import Metrics, observed
from longva_demo.video import plan_frames, probe
from tests.ui.conftest import MODEL, Visit

QUESTION, SAMPLING = "What colour is the circle?", Sampling(max_new_tokens=24)


def ask(asker: Asker, session: ChatSession, question: str = QUESTION, stop: bool = False) -> None:
    stopping = threading.Event()
    if stop:
        stopping.set()
    list(asker(session, question, SAMPLING, False, stopping))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, object]]]:
    """The log's lines, as they come."""

    class Lines(list[dict[str, object]]):
        def __getitem__(self, at):  # type: ignore[no-untyped-def]
            return [json.loads(record.message) for record in caplog.records if "questions" in record.name][at]

    with caplog.at_level(logging.INFO, "longva_demo.questions"):
        yield Lines()


def make(clip: Path, log: str = "questions") -> tuple[Engine, Metrics, ChatSession]:
    engine = Engine(load(MODEL), Settings(log=log))
    session = ChatSession(engine)
    info = probe(clip)
    session.look_at(VideoSource(info, plan_frames(info, 8), engine.processor))
    return engine, Metrics(lambda: 3, lambda: 2), session


def test_each_question_is_a_line_and_is_counted(clip: Path, lines: list[dict[str, object]]) -> None:
    engine, metrics, session = make(clip)
    asker = observed(ask_here, engine, metrics)
    ask(asker, session)
    turn = session.turns[0]
    first = lines[-1]
    seconds = first.pop("seconds")
    assert abs(datetime.fromisoformat(str(first.pop("time"))).timestamp() - time.time()) < 60
    assert first == {
        "session": session.name,
        "model": engine.loaded.model_id,
        "frames": 8,
        "tokens": turn.stats.num_tokens,
        "new_tokens": turn.stats.num_new_tokens,
        "frames_were": "read",
        "outcome": "answered",
        "error": None,
    }
    assert isinstance(seconds, dict)
    assert 0 < seconds["reading"] <= seconds["first_word"] <= seconds["total"]
    assert seconds["waiting"] == 0
    ask(asker, session)
    assert lines[-1]["frames_were"] == "kept"
    with pytest.raises(DemoError):
        ask(asker, session, "  " * 40_000)
    assert (lines[-1]["outcome"], lines[-1]["error"]) == ("refused", "DemoError")
    left = asker(session, QUESTION, SAMPLING, False, threading.Event())
    next(left)
    left.close()
    assert lines[-1]["outcome"] == "left"
    value = metrics.registry.get_sample_value
    assert value("longva_questions_total", {"outcome": "answered"}) == 2
    assert value("longva_questions_total", {"outcome": "refused"}) == 1
    assert value("longva_frames_read_total") == 8
    assert value("longva_tokens_generated_total") >= 2 * turn.stats.num_new_tokens
    assert value("longva_question_seconds_count", {"stage": "total"}) == 4
    assert value("longva_questions_running") == 0
    assert (value("longva_pages"), value("longva_waiting")) == (3, 2)


def test_a_wait_an_unexpected_error_and_a_stop_are_told_apart(clip: Path, lines: list[dict[str, object]]) -> None:
    engine, metrics, session = make(clip)

    def ask_and_fail(*_: object) -> Iterator[Progress | TextDelta]:
        time.sleep(0.02)
        yield Progress("waiting", 1, 1)
        raise ZeroDivisionError("private words")

    with pytest.raises(ZeroDivisionError):
        ask(observed(ask_and_fail, engine, metrics), session)  # type: ignore[arg-type]
    assert (lines[-1]["outcome"], lines[-1]["error"]) == ("failed", "ZeroDivisionError")
    assert lines[-1]["seconds"]["waiting"] > 0  # type: ignore[index]
    ask(observed(ask_here, engine, metrics), session, stop=True)
    assert lines[-1]["outcome"] == "stopped"


@pytest.mark.parametrize(("choice", "expected"), [("questions", False), ("texts", True), ("nothing", None)])
def test_texts_are_logged_only_where_asked_for(
    clip: Path, caplog: pytest.LogCaptureFixture, choice: str, expected: bool | None
) -> None:
    engine, metrics, session = make(clip, choice)
    with caplog.at_level(logging.INFO, "longva_demo.questions"):
        ask(observed(ask_here, engine, metrics), session)
    told = [record.message for record in caplog.records if record.name == "longva_demo.questions"]
    assert len(told) == (expected is not None)
    if told:
        assert (QUESTION in told[0]) is (session.turns[0].answer in told[0]) is expected


def test_the_server_says_how_it_is(visit: Visit) -> None:
    address = visit.page.url.rstrip("/")
    with urlopen(f"{address}/healthz") as answer:
        assert json.load(answer)["status"] == "ok"
    visit.pick("A rolling circle")
    before = server_figures(address)
    assert before is not None
    assert before["pages"] >= 1
    visit.ask("What colour is the circle?")
    after = server_figures(address)
    assert after is not None
    assert after["questions"] == before["questions"] + 1
    assert after["frames_read"] == before["frames_read"] + 16
    assert "pages open; questions: 0 on their way (0 in line)" in describe_server(after)
    assert server_figures("http://127.0.0.1:1") is None
