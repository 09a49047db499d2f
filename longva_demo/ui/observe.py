"""What the operator sees: a line a question in the log, `/healthz`, and figures for Prometheus at `/metrics`."""

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longva_demo.chat import ChatSession, Engine, Progress, Sampling, Turn
from longva_demo.errors import DemoError
from longva_demo.ui.asking import Asker, Events

log = logging.getLogger("longva_demo.questions")
HEALTH, METRICS = "/healthz", "/metrics"
# From a follow-up to a long film.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)


class Metrics:
    """The figures of one app. Outcomes: answered, stopped, left (the page went), refused (a clear line), failed."""

    def __init__(self, num_pages: Callable[[], int], num_waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.questions = self._counter("questions", "Questions, by how they ended", ["outcome"])
        self.frames = self._counter("frames_read", "Video frames read into the model")
        self.tokens = self._counter("tokens_generated", "Tokens of answers")
        self.seconds = Histogram(
            "longva_question_seconds", "Seconds by stage", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self.running = Gauge("longva_questions_running", "Questions on their way", registry=self.registry)
        for name, text, count in (
            ("pages", "Open pages", num_pages),
            ("waiting", "Questions that wait for their video to be read", num_waiting),
        ):
            Gauge(f"longva_{name}", text, registry=self.registry).set_function(count)
        ProcessCollector(registry=self.registry)  # resident memory, CPU seconds, open files; on Linux

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"longva_{name}", text, labels or [], registry=self.registry)


@dataclass
class Question:
    """One question on its way."""

    outcome: str = "left"  # unless another end is seen
    error: str | None = None
    waiting_seconds: float = 0.0


def observed(ask: Asker, engine: Engine, metrics: Metrics) -> Asker:
    """An asker that logs each question, as JSON, and counts it. Texts are logged only where the settings ask for it."""

    def ask_observed(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        started, this = time.perf_counter(), Question()
        before = session.turns[-1] if session.turns else None
        try:
            with (
                metrics.running.track_inprogress(),
                closing(ask(session, question, sampling, again, stopping)) as events,
            ):
                for event in events:
                    if isinstance(event, Progress) and event.stage == "waiting":
                        this.waiting_seconds = time.perf_counter() - started
                    yield event
            this.outcome = "stopped" if stopping.is_set() else "answered"
        except Exception as error:
            this.outcome = "refused" if isinstance(error, DemoError) else "failed"
            this.error = type(error).__name__  # what it says may name the visitor's file
            raise
        finally:
            newest = session.turns[-1] if session.turns else None
            count(session, question, this, newest if newest is not before else None, time.perf_counter() - started)

    def count(session: ChatSession, question: str, this: Question, turn: Turn | None, seconds: float) -> None:
        stages = {"waiting": this.waiting_seconds, "total": seconds}
        if turn is not None:
            stages |= {"reading": turn.stats.seconds_to_read, "first_word": turn.stats.seconds_to_first_token}
            metrics.tokens.inc(turn.stats.num_new_tokens)
            if not turn.stats.reused and session.source is not None:
                metrics.frames.inc(session.source.num_frames)
        metrics.questions.labels(this.outcome).inc()
        for stage, value in stages.items():
            metrics.seconds.labels(stage).observe(value)
        facts = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "session": session.name,
            "model": engine.loaded.model_id,
            "frames": session.source.num_frames if session.source is not None else 0,
            "tokens": turn.stats.num_tokens if turn is not None else None,
            "new_tokens": turn.stats.num_new_tokens if turn is not None else 0,
            "frames_were": turn.stats.way if turn is not None else None,
            "seconds": {stage: round(value, 3) for stage, value in stages.items()},
            "outcome": this.outcome,
            "error": this.error,
        }
        if engine.settings.log == "texts":
            facts |= {"question": question, "answer": turn.answer if turn is not None else None}
        if engine.settings.log != "nothing":
            log.info("%s", json.dumps(facts, ensure_ascii=False))

    return ask_observed


def observe_routes(metrics: Metrics, engine: Engine) -> list[Route]:
    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": engine.loaded.model_id})

    def figures(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route(HEALTH, health), Route(METRICS, figures)]
