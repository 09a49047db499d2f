"""What the operator sees: a line of JSON for each question, look, upload and needle test in the log, `/healthz`, and
figures for Prometheus at `/metrics`.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longva_demo.chat import ChatSession, Engine, ImageSource, Progress, Sampling, Source, Stage, Turn
from longva_demo.chat.answering import Answerer, Events
from longva_demo.chat.prefix_cache import PrefixCache
from longva_demo.errors import DemoError
from longva_demo.settings import Settings

log = logging.getLogger("longva_demo.events")
HEALTH, METRICS = "/healthz", "/metrics"
# From a follow-up to a long film.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)


class Metrics:
    """The figures of one app.

    Outcomes: answered (a question), done (others), stopped, left (the page went), refused (a clear line), failed.
    """

    def __init__(self, num_pages: Callable[[], int], num_waiting: Callable[[], int], prefix_cache: PrefixCache) -> None:
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
        self.registry.register(CacheFigures(prefix_cache))
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

    def __init__(self, prefix_cache: PrefixCache) -> None:
        self._prefix_cache = prefix_cache

    def collect(self) -> Iterable[Metric]:
        kept = GaugeMetricFamily("longva_kv_bytes", "Keys and values kept of what was read", labels=["memory"])
        for memory, num_bytes in zip(("model", "host"), self._prefix_cache.num_bytes, strict=True):
            kept.add_metric([memory], num_bytes)
        yield kept
        dropped = "What was read, and dropped though it could be asked about"
        yield CounterMetricFamily("longva_prefixes_dropped", dropped, self._prefix_cache.num_evicted)


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


def observe_answers(ask: Answerer, engine: Engine, metrics: Metrics, events: EventLog) -> Answerer:
    """An answerer that counts each question and logs it as JSON; with its texts only if the settings ask for them."""

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
                    if isinstance(event, Progress) and event.stage == Stage.QUEUED:
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
            reading, decoding = turn.stats.seconds_to_prefill, turn.stats.seconds_to_decode
            stages |= {"reading": reading, "decoding": decoding, "encoding": reading - decoding}
            stages["first_word"] = turn.stats.seconds_to_first_token
            metrics.tokens.inc(turn.stats.num_new_tokens)
            metrics.rebuilt.inc(turn.stats.was_evicted)
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
            "cache": turn.stats.cache if turn is not None else None,
            "attribution_skipped": turn is not None and turn.is_too_long_to_attribute,
            "seconds": rounded(stages),
            "outcome": this.outcome,
            "error": this.error,
        }
        if engine.settings.log == "texts":
            facts |= {"question": question, "answer": turn.answer if turn is not None else None}
        events.write("question", facts)

    return ask_observed


def telemetry_routes(metrics: Metrics, engine: Engine) -> list[Route]:
    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": engine.loaded.model_id})

    def figures(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route(HEALTH, health), Route(METRICS, figures)]
