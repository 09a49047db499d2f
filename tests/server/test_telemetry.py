"""Log and metrics: one line and one count per event, with no text or file name unless asked for."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.chat import AdmissionQueue, ChatSession, LocalEngine, Progress, Sampling, Stage, TextDelta, VideoSource
from longva_demo.chat.answering import Answerer, answer_in_process
from longva_demo.chat.lines import ChatLines
from longva_demo.chat.prefix_cache import PrefixCache
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page.handlers import Handlers
from longva_demo.page.needle_test import NeedleTests
from longva_demo.page.sessions import Pages
from longva_demo.quotas import QuotaError, Quotas
from longva_demo.server.api import Api
from longva_demo.server.bodies import limit_bodies
from longva_demo.server.rate_limit import RateLimit
from longva_demo.server.reservations import Reservations
from longva_demo.server.searches import Searches
from longva_demo.server.uploads import Uploads, log_uploads
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics, observe_answers
from longva_demo.timed_text import SOURCES, Line
from longva_demo.video import plan_frames, probe

QUESTION, SAMPLING = "What colour is the circle?", Sampling(max_new_tokens=24)


def ask(answerer: Answerer, session: ChatSession, question: str = QUESTION, stop: bool = False) -> None:
    stopping = threading.Event()
    if stop:
        stopping.set()
    list(answerer(session, question, SAMPLING, False, stopping))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, object]]]:
    """The log's entries so far."""

    class Lines(list[dict[str, object]]):
        def __getitem__(self, at):  # type: ignore[no-untyped-def]
            return [json.loads(record.message) for record in caplog.records if "events" in record.name][at]

    with caplog.at_level(logging.INFO, "longva_demo.events"):
        yield Lines()


def make(clip: Path, log: str = "questions") -> tuple[LocalEngine, Metrics, EventLog, ChatSession]:
    engine = LocalEngine(load("tiny"), Settings(log=log))
    metrics = Metrics(lambda: 3, lambda: 2, engine.figures, Quotas(Settings()))
    session = ChatSession(engine)
    info = probe(clip)
    session.set_source(VideoSource(info, plan_frames(info, 8), engine.processor))
    return engine, metrics, EventLog(engine.settings, metrics), session


def test_each_question_is_logged_and_counted(clip: Path, lines: list[dict[str, object]]) -> None:
    engine, metrics, events, session = make(clip)
    answerer = observe_answers(answer_in_process, engine, metrics, events)
    ask(answerer, session)
    turn = session.turns[0]
    first = lines[-1]
    seconds = first.pop("seconds")
    assert abs(datetime.fromisoformat(str(first.pop("time"))).timestamp() - time.time()) < 60
    assert first == {
        "event": "question",
        "session": session.name,
        "model": engine.loaded.model_id,
        "frames": 8,
        "tokens": turn.stats.num_tokens,
        "new_tokens": turn.stats.num_new_tokens,
        "lines": 0,
        "cache": "miss",
        "attribution_skipped": False,
        "outcome": "answered",
        "error": None,
    }
    assert isinstance(seconds, dict)
    assert min(seconds["decoding"], seconds["encoding"]) > 0
    assert abs(seconds["decoding"] + seconds["encoding"] - seconds["prefill"]) < 0.002
    assert 0 < seconds["prefill"] <= seconds["first_token"] <= seconds["total"]
    assert seconds["queue"] == 0
    ask(answerer, session)
    assert lines[-1]["cache"] == "hit"
    with pytest.raises(DemoError):
        ask(answerer, session, "  " * 40_000)
    assert (lines[-1]["outcome"], lines[-1]["error"]) == ("refused", "DemoError")
    abandoned = answerer(session, QUESTION, SAMPLING, False, threading.Event())
    next(abandoned)
    abandoned.close()
    assert lines[-1]["outcome"] == "disconnected"
    value = metrics.registry.get_sample_value
    assert value("longva_questions_total", {"outcome": "answered"}) == 2
    assert value("longva_questions_total", {"outcome": "refused"}) == 1
    assert value("longva_frames_prefilled_total") == 8
    assert value("longva_tokens_generated_total") >= 2 * turn.stats.num_new_tokens
    assert value("longva_question_seconds_count", {"stage": "total"}) == 4
    assert value("longva_questions_running") == 0
    assert value("longva_kv_bytes", {"memory": "model"}) == engine.prefix_cache.num_bytes[0] > 0
    assert value("longva_kv_bytes", {"memory": "host"}) == 0
    while engine.prefix_cache.evict_oldest():
        pass
    ask(answerer, session)
    assert (value("longva_prefixes_evicted_total"), value("longva_prefixes_recomputed_total")) == (1, 1)
    assert (value("longva_pages"), value("longva_queue_length")) == (3, 2)


def test_lines_are_counted_without_their_texts(reference: Path, lines: list[dict[str, object]]) -> None:
    engine = LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu"), Settings())
    metrics = Metrics(lambda: 0, lambda: 0, engine.figures, Quotas(Settings()))
    answerer = observe_answers(answer_in_process, engine, metrics, EventLog(engine.settings, metrics))
    with closing(ChatSession(engine)) as session:
        session.lines = ChatLines([Line(0.0, 1.0, "private words", source) for source in SOURCES])
        ask(answerer, session)
        session.lines = None
        ask(answerer, session)
    assert [line["lines"] for line in lines[:]] == [3, 0]  # type: ignore[attr-defined]
    assert metrics.registry.get_sample_value("longva_lines_given_total") == 3
    assert "private" not in str(lines[:])


def test_queueing_an_unexpected_error_and_a_stop_are_distinguished(clip: Path, lines: list[dict[str, object]]) -> None:
    engine, metrics, events, session = make(clip)

    def ask_and_fail(*_: object) -> Iterator[Progress | TextDelta]:
        time.sleep(0.02)
        yield Progress(Stage.QUEUED, 1, 1)
        raise ZeroDivisionError("private words")

    with pytest.raises(ZeroDivisionError):
        ask(observe_answers(ask_and_fail, engine, metrics, events), session)  # type: ignore[arg-type]
    assert (lines[-1]["outcome"], lines[-1]["error"]) == ("failed", "ZeroDivisionError")
    assert lines[-1]["seconds"]["queue"] > 0  # type: ignore[index]
    ask(observe_answers(answer_in_process, engine, metrics, events), session, stop=True)
    assert lines[-1]["outcome"] == "stopped"


@pytest.mark.parametrize(("choice", "expected"), [("questions", False), ("texts", True), ("nothing", None)])
def test_texts_are_logged_only_on_request(
    clip: Path, caplog: pytest.LogCaptureFixture, choice: str, expected: bool | None
) -> None:
    engine, metrics, events, session = make(clip, choice)
    with caplog.at_level(logging.INFO, "longva_demo.events"):
        ask(observe_answers(answer_in_process, engine, metrics, events), session)
    logged = [record.message for record in caplog.records if record.name == "longva_demo.events"]
    assert len(logged) == (expected is not None)
    if logged:
        assert (QUESTION in logged[0]) is (session.turns[0].answer in logged[0]) is expected


def untimed(line: dict[str, Any]) -> dict[str, Any]:
    """Check the times and leave them out."""
    assert abs(datetime.fromisoformat(line.pop("time")).timestamp() - time.time()) < 60
    seconds = line.pop("seconds")
    assert 0 <= seconds.get("open", 0) <= seconds["total"]
    return line


def select_file(handlers: Handlers, path: Path, name: str = "one", num_frames: int = 8) -> Iterator[Any]:
    request: Any = SimpleNamespace(session_hash=name)
    return handlers.select(str(path), None, num_frames, "", "", "pyav", False, 1.0, request)


def test_each_selection_is_logged_without_file_names(clip: Path, tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    engine, metrics, events, _ = make(clip)
    pages = Pages(engine)
    handlers = Handlers(engine, engine.settings, pages, answer_in_process, events)
    list(select_file(handlers, clip))
    session = pages.get("one").session.name
    expected = {"event": "select", "where": "page", "session": session, "source": "video", "frames": 8}
    assert untimed(lines[-1]) == {**expected, "outcome": "done", "error": None}
    next(select_file(handlers, clip, "two"))  # and disconnect
    assert untimed(lines[-1])["outcome"] == "disconnected"

    (tmp_path / "private words.mp4").write_text("private words")
    with pytest.raises(gr.Error):
        list(select_file(handlers, tmp_path / "private words.mp4"))
    refused = {"outcome": "refused", "error": "VideoError"}
    assert untimed(lines[-1]) == {"event": "select", "where": "page", "session": session, **refused}

    finder = Searches(engine, AdmissionQueue(engine.prefill_times), RateLimit(9, "questions"), events).find
    api = Api(engine, engine.settings, answer_in_process, finder, events, Quotas(Settings()))
    api.sample_frames(str(clip), 5)
    sampled = {"event": "select", "where": "sample_frames", "session": None}
    assert untimed(lines[-1]) == {**sampled, "source": "video", "frames": 5, "outcome": "done", "error": None}
    with pytest.raises(gr.Error):
        api.sample_frames(str(tmp_path / "private words.mp4"))
    assert untimed(lines[-1]) == {**sampled, **refused}
    assert "private" not in str(lines[:])
    value = metrics.registry.get_sample_value
    assert value("longva_events_total", {"event": "select", "outcome": "refused"}) == 2
    assert value("longva_event_seconds_count", {"event": "select", "stage": "total"}) == 5
    for name in ("one", "two"):
        pages.disconnect(name, is_closed=True)


def test_a_search_is_logged_without_its_words(clip: Path, lines: list[dict[str, Any]]) -> None:
    engine, metrics, events, _ = make(clip)
    finder = Searches(engine, AdmissionQueue(engine.prefill_times), RateLimit(9, "questions"), events).find
    api = Api(engine, engine.settings, answer_in_process, finder, events, Quotas(Settings()))
    list(api.find("a private star", str(clip), 5))
    line = untimed(lines[-1])
    assert line.pop("ranges") >= 0
    search = {"event": "find", "where": "find", "session": None, "frames": 5}
    assert line == {**search, "windows": 5, "outcome": "done", "error": None}
    stopped = api.find("a private star", str(clip), 40)
    next(stopped)
    stopped.close()
    assert untimed(lines[-1])["outcome"] == "stopped"
    assert 0 < untimed(lines[-1])["windows"] < 40
    with pytest.raises(gr.Error):
        list(api.find("a private star", str(clip), 5, precision=-1))
    assert "private" not in str(lines[:])
    assert metrics.registry.get_sample_value("longva_events_total", {"event": "find", "outcome": "done"}) == 1


@pytest.mark.slow
def test_a_needle_test_is_logged(clip: Path, lines: list[dict[str, Any]]) -> None:
    engine, _, events, _ = make(clip)
    pages = Pages(engine)
    list(select_file(Handlers(engine, engine.settings, pages, answer_in_process, events), clip, num_frames=1))
    page = pages.get("one")
    request: Any = SimpleNamespace(session_hash="one")
    tests = NeedleTests(engine, pages, AdmissionQueue(engine.prefill_times), events)
    list(tests.start(2.0, request))
    line = untimed(lines[-1])
    assert 0 <= line.pop("right") <= 15
    test = {"event": "needle_test", "session": page.session.name, "frames": 1, "error": None}
    assert line == {**test, "asked": 15, "outcome": "done"}
    steps = tests.start(3.0, request)
    next(steps)
    page.needle_test_task.stop()
    list(steps)
    assert untimed(lines[-1]) == {**test, "asked": 0, "right": 0, "outcome": "stopped"}
    pages.disconnect("one", is_closed=True)


def test_quotas_are_visible() -> None:
    quotas = Quotas(Settings())
    metrics = Metrics(lambda: 0, lambda: 0, PrefixCache().figures, quotas)
    quotas.pages.take("10.0.0.1", quotas.pages.maximum_per_client)
    with pytest.raises(QuotaError):
        quotas.pages.take("10.0.0.1")
    quotas.uploads.take("10.0.0.1", 3)

    def value(name: str, quota: str) -> float | None:
        return metrics.registry.get_sample_value(f"longva_quota_{name}", {"quota": quota})

    assert value("used", "pages") == quotas.pages.maximum_per_client
    assert value("maximum", "pages") == quotas.pages.maximum
    assert value("refused_total", "pages") == 1
    assert value("used", "uploads") == 3
    assert value("refused_total", "decoders") is not None


def test_each_upload_is_logged(clip: Path, lines: list[dict[str, Any]]) -> None:
    _, _, events, _ = make(clip)

    async def accept(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("")

    quotas = Quotas(Settings())
    uploads = Uploads(set, set, 10**6)
    middleware = [log_uploads(events), limit_bodies(1000, Reservations(uploads), quotas.uploads, quotas.body_bytes)]
    app = Starlette(routes=[Route("/{rest:path}", accept, methods=["POST"])], middleware=middleware)
    client = TestClient(app)
    client.post("/gradio_api/upload", content=bytes(10))
    upload = {"event": "upload", "error": None}
    assert untimed(lines[-1]) == {**upload, "bytes": 10, "status": 200, "outcome": "done"}
    client.post("/gradio_api/upload", content=bytes(200_000))
    assert untimed(lines[-1]) == {**upload, "bytes": 200_000, "status": 413, "outcome": "refused"}
    client.post("/gradio_api/run", content=bytes(10))
    assert len(lines[:]) == 2
