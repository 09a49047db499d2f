"""Telemetry for the operator: the log, `/healthz`, and Prometheus metrics at `/metrics`.

The log has one line of JSON for each question, selection, upload, search and needle test.
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

from longva_demo.chat import ChatSession, Engine, Progress, Sampling, Source, Stage, Turn
from longva_demo.chat.answering import Answerer, Events
from longva_demo.chat.engine import Figure
from longva_demo.errors import DemoError
from longva_demo.quotas import Quotas
from longva_demo.settings import Settings

EVENTS = "longva_demo.events"  # the logger
log = logging.getLogger(EVENTS)
HEALTH, METRICS = "/healthz", "/metrics"
# Buckets, from a follow-up question to a long film.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)


class Metrics:
    """The metrics of one app.

    Outcomes: answered (questions), done (other events), stopped, disconnected, refused (with a message for the user),
    and failed.
    """

    def __init__(
        self,
        num_pages: Callable[[], int],
        num_queued: Callable[[], int],
        figures: Callable[[], Iterable[Figure]],
        quotas: Quotas,
    ) -> None:
        self.registry = CollectorRegistry()
        self.questions = self._counter("questions", "Questions by outcome", ["outcome"])
        self.frames = self._counter("frames_prefilled", "Frames prefilled into the KV cache")
        self.tokens = self._counter("tokens_generated", "Tokens of answers")
        self.lines = self._counter("lines_given", "Lines of what is said and written, given to the model")
        self.seconds = Histogram(
            "longva_question_seconds",
            "Seconds of questions by stage",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.events = self._counter(
            "events", "Selections, uploads, searches and needle tests by outcome", ["event", "outcome"]
        )
        self.event_seconds = Histogram(
            "longva_event_seconds",
            "Seconds of these events by stage",
            ["event", "stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.recomputed = self._counter("prefixes_recomputed", "Prefixes prefilled again after an eviction")
        self.registry.register(EngineCollector(figures))
        self.registry.register(QuotaCollector(quotas))
        self.running = Gauge("longva_questions_running", "Questions being answered", registry=self.registry)
        for name, text, count in (
            ("pages", "Open pages", num_pages),
            ("queue_length", "Questions, searches and needle tests in the queue", num_queued),
        ):
            Gauge(f"longva_{name}", text, registry=self.registry).set_function(count)
        ProcessCollector(registry=self.registry)  # resident memory, CPU seconds, open files; on Linux

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"longva_{name}", text, labels or [], registry=self.registry)


class EngineCollector(Collector):
    """Metrics of the engine."""

    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        for figure in self._figures():
            labels = [figure.label] if figure.label else []
            kind = CounterMetricFamily if figure.is_counter else GaugeMetricFamily
            family = kind(f"longva_{figure.name}", figure.help, labels=labels)
            for label, value in figure.values.items():
                family.add_metric([label] if labels else [], value)
            yield family


class QuotaCollector(Collector):
    """Metrics of what clients hold."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    def collect(self) -> Iterable[Metric]:
        used = GaugeMetricFamily("longva_quota_used", "What clients hold of each quota", labels=["quota"])
        maximum = GaugeMetricFamily("longva_quota_maximum", "What all clients together can hold", labels=["quota"])
        refused = CounterMetricFamily("longva_quota_refused", "Requests refused by each quota", labels=["quota"])
        for name, quota in self._quotas:
            used.add_metric([name], quota.used)
            maximum.add_metric([name], quota.maximum)
            refused.add_metric([name], quota.num_refused)
        yield from (used, maximum, refused)


@dataclass
class Event:
    """A running selection, upload, search or needle test."""

    facts: dict[str, Any]
    outcome: str = "done"
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    started: float = field(default_factory=time.perf_counter)

    def mark(self, stage: str) -> None:
        """A stage ends, which began with the event."""
        self.seconds[stage] = time.perf_counter() - self.started

    def describe(self, source: Source | None) -> None:
        """Add the kind of the selected file, and the number of its frames. Its name is not logged."""
        kind = source.kind if source is not None else None
        self.facts |= {"source": kind, "frames": source.num_frames if source is not None else 0}


class EventLog:
    """Counts and logs events, without texts, file names or error messages."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    @contextmanager
    def event(self, name: str, **facts: Any) -> Iterator[Event]:
        """The event runs during the `with` block."""
        event, outcome, error_type = Event(facts), "disconnected", None
        try:
            yield event
            outcome = event.outcome
        except Exception as error:
            outcome, error_type = outcome_of(error)
            raise
        finally:
            event.mark("total")
            self._metrics.events.labels(name, outcome).inc()
            for stage, seconds in event.seconds.items():
                self._metrics.event_seconds.labels(name, stage).observe(seconds)
            self.write(name, event.facts | {"seconds": rounded(event.seconds), "outcome": outcome, "error": error_type})

    def write(self, name: str, facts: dict[str, Any]) -> None:
        if self._settings.log != "nothing":
            facts = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **facts}
            log.info("%s", json.dumps(facts, ensure_ascii=False))


def outcome_of(error: Exception) -> tuple[str, str]:
    """The outcome, and the type of the error. Its message is not logged, since it may name the visitor's file."""
    return "refused" if isinstance(error, DemoError) else "failed", type(error).__name__


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in seconds.items()}


@dataclass
class Question:
    """A question that is being answered."""

    outcome: str = "disconnected"  # unless it ends otherwise
    error: str | None = None
    queue_seconds: float = 0.0


def observe_answers(ask: Answerer, engine: Engine, metrics: Metrics, events: EventLog) -> Answerer:
    """An answerer that counts and logs each question; with its texts only if the settings say so."""

    def ask_observed(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        started, observed = time.perf_counter(), Question()
        before = session.turns[-1] if session.turns else None
        try:
            with (
                metrics.running.track_inprogress(),
                closing(ask(session, question, sampling, again, stopping)) as steps,
            ):
                for event in steps:
                    if isinstance(event, Progress) and event.stage == Stage.QUEUED:
                        observed.queue_seconds = time.perf_counter() - started
                    yield event
            observed.outcome = "stopped" if stopping.is_set() else "answered"
        except Exception as error:
            observed.outcome, observed.error = outcome_of(error)
            raise
        finally:
            newest = session.turns[-1] if session.turns else None
            count(session, question, observed, newest if newest is not before else None, time.perf_counter() - started)

    def count(session: ChatSession, question: str, observed: Question, turn: Turn | None, seconds: float) -> None:
        stages = {"queue": observed.queue_seconds, "total": seconds}
        if turn is not None:
            prefill, decoding = turn.stats.seconds_to_prefill, turn.stats.seconds_to_decode
            stages |= {"prefill": prefill, "decoding": decoding, "encoding": prefill - decoding}
            stages["first_token"] = turn.stats.seconds_to_first_token
            metrics.tokens.inc(turn.stats.num_new_tokens)
            metrics.lines.inc(len(turn.lines))
            metrics.recomputed.inc(turn.stats.was_evicted)
            if not turn.stats.reused and session.source is not None:
                metrics.frames.inc(session.source.num_frames)
        metrics.questions.labels(observed.outcome).inc()
        for stage, value in stages.items():
            metrics.seconds.labels(stage).observe(value)
        facts = {
            "session": session.name,
            "model": engine.model.id,
            "frames": session.source.num_frames if session.source is not None else 0,
            "tokens": turn.stats.num_tokens if turn is not None else None,
            "new_tokens": turn.stats.num_new_tokens if turn is not None else 0,
            "lines": len(turn.lines) if turn is not None else 0,
            "cache": turn.stats.cache if turn is not None else None,
            "attribution_skipped": turn is not None and turn.is_too_long_to_attribute,
            "seconds": rounded(stages),
            "outcome": observed.outcome,
            "error": observed.error,
        }
        if engine.settings.log == "texts":
            facts |= {"question": question, "answer": turn.answer if turn is not None else None}
        events.write("question", facts)

    return ask_observed


def telemetry_routes(metrics: Metrics, engine: Engine) -> list[Route]:
    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": engine.model.id, "engine": engine.health()})

    def metrics_text(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route(HEALTH, health), Route(METRICS, metrics_text)]
