"""Searches and chapters of visitors: counted, logged, and queued like the prefill of a video."""

from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import TypeVar

from longva_demo.chat import AdmissionQueue, Capability, Engine, LocalEngine, Stage, VideoSource
from longva_demo.chat.open_engine import in_process
from longva_demo.chat.zero_gpu import is_zero_gpu
from longva_demo.errors import DemoError
from longva_demo.moments import Moments, Search, find_moments
from longva_demo.moments.chapters import Outline, find_chapters
from longva_demo.moments.find import Stop
from longva_demo.server.rate_limit import CALLER, RateLimit
from longva_demo.telemetry import EventLog
from longva_demo.timed_text import Line

Found = TypeVar("Found", Moments, Outline)


class Searches:
    """What the page and the API search with. A search counts as one of the caller's `questions` per minute."""

    def __init__(self, engine: Engine, queue: AdmissionQueue, questions: RateLimit, events: EventLog) -> None:
        self._engine = engine
        self._queue = queue
        self._questions = questions
        self._events = events

    def find(self, source: VideoSource, search: Search, should_stop: Stop, session: str | None) -> Generator[Moments]:
        """A `Finder`."""
        engine = self._admitted()
        found = Moments()
        facts = {"where": "page" if session else "find", "session": session, "frames": source.num_frames}
        with self._events.event("find", **facts, windows=0, ranges=0) as event:
            steps = find_moments(engine, source, search, should_stop)
            with suppress(GeneratorExit), closing(self._queued(steps, source, should_stop, found)) as queued:
                for found in queued:  # closed: the search was stopped
                    yield found
            event.facts |= {"windows": len(found.frames), "ranges": len(found.ranges)}
            event.outcome = "done" if found.progress is None else "stopped"

    def chapters(
        self, source: VideoSource, should_stop: Stop, session: str | None, lines: Sequence[Line]
    ) -> Generator[Outline]:
        """An `Outliner`."""
        engine = self._admitted()
        outline = Outline()
        facts = {"where": "page", "session": session, "frames": source.num_frames, "lines": len(lines)}
        with self._events.event("chapters", **facts, chapters=0) as event:
            steps = find_chapters(engine, source, should_stop, lines)
            with suppress(GeneratorExit), closing(self._queued(steps, source, should_stop, outline)) as queued:
                for outline in queued:
                    yield outline
            event.facts["chapters"] = len(outline.chapters)
            event.outcome = "done" if outline.progress is None else "stopped"

    def _admitted(self) -> LocalEngine:
        """The engine. Raises DemoError if it cannot do this, or if the caller has asked too often."""
        if is_zero_gpu():
            raise DemoError("this needs a permanent GPU", "run longva-demo on a machine that has one")
        engine = in_process(self._engine, Capability.WINDOWS)
        self._questions.count(*CALLER.get())
        return engine

    def _queued(
        self, steps: Generator[Found], source: VideoSource, should_stop: Stop, found: Found
    ) -> Generator[Found]:
        """Queue again after each use of the model, so that chats get their turns in between."""
        with self._queue.enqueue(source.num_frames) as ticket, closing(steps):
            while True:
                for position in self._queue.wait(ticket, should_stop):
                    yield replace(found, progress=position)
                newer = next(steps, None) if ticket.admitted.is_set() else None
                if newer is None:
                    return
                found = newer
                yield found
                if found.progress is not None and found.progress.stage == Stage.WINDOWS:
                    self._queue.requeue(ticket)
