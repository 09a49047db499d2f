"""What the operator sees: a line of JSON for each question, look, upload and needle test in the log, `/healthz`, and
figures for Prometheus at `/metrics`.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longva_demo.chat import ChatSession, Engine, ImageSource, Progress, Sampling, Source, Turn
from longva_demo.chat.prefixes import Prefixes
from longva_demo.errors import DemoError
from longva_demo.niah import Result
from longva_demo.settings import Settings
from longva_demo.ui.asking import Asker, Events

log = logging.getLogger("longva_demo.events")
HEALTH, METRICS = "/healthz", "/metrics"
# From a follow-up to a long film.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)


class Metrics:
    """The figures of one app.

    Outcomes: answered (a question), done (others), stopped, left (the page went), refused (a clear line), failed.
    """

    def __init__(self, num_pages: Callable[[], int], num_waiting: Callable[[], int], prefixes: Prefixes) -> None:
        self.registry = CollectorRegistry()
        self.questions = self._counter("questions", "Questions, by how they ended", ["outcome"])
        self.frames = self._counter("frames_read", "Video frames read into the model")
        self.tokens = self._counter("tokens_generated", "Tokens of answers")
        self.seconds = Histogram(
            "longva_question_seconds", "Seconds by stage", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self.events = self._counter("events", "Looks, uploads, needle tests, by how they ended", ["event", "outcome"])
        self.event_seconds = Histogram(
            "longva_event_seconds", "Their seconds", ["event", "stage"], buckets=SECONDS, registry=self.registry
        )
        self.rebuilt = self._counter("prefixes_rebuilt", "Videos that a chat had to read again: others needed the room")
        self.registry.register(CacheFigures(prefixes))
        self.running = Gauge("longva_questions_running", "Questions on their way", registry=self.registry)
        for name, text, count in (
            ("pages", "Open pages", num_pages),
            ("waiting", "Questions that wait for their video to be read", num_waiting),
        ):
            Gauge(f"longva_{name}", text, registry=self.registry).set_function(count)
        ProcessCollector(registry=self.registry)  # resident memory, CPU seconds, open files; on Linux

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"longva_{name}", text, labels or [], registry=self.registry)


class CacheFigures(Collector):
    """Of what was read and is kept."""

    def __init__(self, prefixes: Prefixes) -> None:
        self._prefixes = prefixes

    def collect(self) -> Iterable[Metric]:
        kept = GaugeMetricFamily("longva_kv_bytes", "Keys and values kept of what was read", labels=["memory"])
        for memory, num_bytes in zip(("model", "host"), self._prefixes.num_bytes, strict=True):
            kept.add_metric([memory], num_bytes)
        yield kept
        dropped = "What was read, and dropped though it could be asked about"
        yield CounterMetricFamily("longva_prefixes_dropped", dropped, self._prefixes.num_dropped)


@dataclass
class Event:
    """A look, an upload or a needle test on its way."""

    facts: dict[str, Any]
    outcome: str = "done"
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    started: float = field(default_factory=time.perf_counter)

    def mark(self, stage: str) -> None:
        """This stage ends now; it began with the event."""
        self.seconds[stage] = time.perf_counter() - self.started

    def tell(self, source: Source | None) -> None:
        """What is looked at, without its name."""
        kind = "picture" if isinstance(source, ImageSource) else "video" if source is not None else None
        self.facts |= {"source": kind, "frames": source.num_frames if source is not None else 0}


class EventLog:
    """Counts events and writes a line for each: neither texts nor names of files, only of kinds of errors."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    @contextmanager
    def event(self, name: str, **facts: Any) -> Iterator[Event]:
        """Within the block it is on its way."""
        this, outcome, kind = Event(facts), "left", None
        try:
            yield this
            outcome = this.outcome
        except Exception as error:
            outcome, kind = how_it_ended(error)
            raise
        finally:
            this.mark("total")
            self._metrics.events.labels(name, outcome).inc()
            for stage, seconds in this.seconds.items():
                self._metrics.event_seconds.labels(name, stage).observe(seconds)
            self.write(name, this.facts | {"seconds": rounded(this.seconds), "outcome": outcome, "error": kind})

    def write(self, name: str, facts: dict[str, Any]) -> None:
        if self._settings.log != "nothing":
            facts = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **facts}
            log.info("%s", json.dumps(facts, ensure_ascii=False))

    def needle_test(self, session: str, test: "RunningTest", events: Any) -> Iterator[Progress | Result]:
        """Passes the events of a test on."""
        with self.event("needle_test", session=session, frames=0, asked=0, right=0) as this, closing(events):
            with suppress(GeneratorExit):  # whoever stops it takes no more
                for event in events:
                    if isinstance(event, Result):
                        this.facts["asked"] += 1
                        this.facts["right"] += event.generated
                    yield event
            this.facts["frames"] = test.num_frames
            this.outcome = "done" if test.is_done else "stopped"

    @property
    def uploads(self) -> Middleware:
        return Middleware(Uploads, events=self)


class RunningTest(Protocol):
    """A needle test: of how many frames, and whether all of it was asked."""

    num_frames: int

    @property
    def is_done(self) -> bool: ...


class Uploads:
    """Middleware that tells of each upload how it ended; around those that refuse some."""

    def __init__(self, app: ASGIApp, events: EventLog) -> None:
        self._app = app
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        num_bytes = int(length) if length.isdigit() else None
        with self._events.event("upload", bytes=num_bytes, status=None) as this:
            this.outcome = "left"  # unless it is answered

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = this.facts["status"] = message["status"]
                    this.outcome = "done" if status < 400 else "refused" if status < 500 else "failed"
                await send(message)

            await self._app(scope, receive, noted)


def how_it_ended(error: Exception) -> tuple[str, str]:
    """The outcome, and the kind of the error: what it says may name the visitor's file."""
    return "refused" if isinstance(error, DemoError) else "failed", type(error).__name__


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in seconds.items()}


@dataclass
class Question:
    """One question on its way."""

    outcome: str = "left"  # unless another end is seen
    error: str | None = None
    waiting_seconds: float = 0.0


def observed(ask: Asker, engine: Engine, metrics: Metrics, events: EventLog) -> Asker:
    """An asker that logs each question, as JSON, and counts it. Texts are logged only where the settings ask for it."""

    def ask_observed(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        started, this = time.perf_counter(), Question()
        before = session.turns[-1] if session.turns else None
        try:
            with (
                metrics.running.track_inprogress(),
                closing(ask(session, question, sampling, again, stopping)) as steps,
            ):
                for event in steps:
                    if isinstance(event, Progress) and event.stage == "waiting":
                        this.waiting_seconds = time.perf_counter() - started
                    yield event
            this.outcome = "stopped" if stopping.is_set() else "answered"
        except Exception as error:
            this.outcome, this.error = how_it_ended(error)
            raise
        finally:
            newest = session.turns[-1] if session.turns else None
            count(session, question, this, newest if newest is not before else None, time.perf_counter() - started)

    def count(session: ChatSession, question: str, this: Question, turn: Turn | None, seconds: float) -> None:
        stages = {"waiting": this.waiting_seconds, "total": seconds}
        if turn is not None:
            reading, decoding = turn.stats.seconds_to_read, turn.stats.seconds_to_decode
            stages |= {"reading": reading, "decoding": decoding, "encoding": reading - decoding}
            stages["first_word"] = turn.stats.seconds_to_first_token
            metrics.tokens.inc(turn.stats.num_new_tokens)
            metrics.rebuilt.inc(turn.stats.read_again)
            if not turn.stats.reused and session.source is not None:
                metrics.frames.inc(session.source.num_frames)
        metrics.questions.labels(this.outcome).inc()
        for stage, value in stages.items():
            metrics.seconds.labels(stage).observe(value)
        facts = {
            "session": session.name,
            "model": engine.loaded.model_id,
            "frames": session.source.num_frames if session.source is not None else 0,
            "tokens": turn.stats.num_tokens if turn is not None else None,
            "new_tokens": turn.stats.num_new_tokens if turn is not None else 0,
            "frames_were": turn.stats.way if turn is not None else None,
            "evidence_left_out": turn is not None and turn.is_too_long_to_weigh,
            "seconds": rounded(stages),
            "outcome": this.outcome,
            "error": this.error,
        }
        if engine.settings.log == "texts":
            facts |= {"question": question, "answer": turn.answer if turn is not None else None}
        events.write("question", facts)

    return ask_observed


def observe_routes(metrics: Metrics, engine: Engine) -> list[Route]:
    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": engine.loaded.model_id})

    def figures(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route(HEALTH, health), Route(METRICS, figures)]
