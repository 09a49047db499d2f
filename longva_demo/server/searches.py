"""Searches of visitors: counted, logged, and queued like the prefill of a video."""

from collections.abc import Generator
from contextlib import closing, suppress

from longva_demo.chat import AdmissionQueue, Engine, VideoSource
from longva_demo.chat.zero_gpu import is_zero_gpu
from longva_demo.errors import DemoError
from longva_demo.moments import Finder, Moments, Search, find_moments
from longva_demo.moments.find import Stop
from longva_demo.server.rate_limit import CALLER, RateLimit
from longva_demo.telemetry import EventLog


def make_finder(engine: Engine, queue: AdmissionQueue, questions: RateLimit, events: EventLog) -> Finder:
    """A finder for this server. A search counts as one of the caller's `questions` per minute."""

    def find(source: VideoSource, search: Search, should_stop: Stop, session: str | None) -> Generator[Moments]:
        if is_zero_gpu():
            raise DemoError("searching needs a permanent GPU", "run longva-demo find VIDEO on a machine that has one")
        questions.count(*CALLER.get())
        found = Moments()
        facts = {
            "where": "page" if session else "find",
            "session": session,
            "frames": source.num_frames,
            "windows": 0,
            "ranges": 0,
        }
        with events.event("find", **facts) as event:
            steps = queued(engine, source, search, should_stop, queue)
            with suppress(GeneratorExit), closing(steps):  # closed: the search was stopped
                for found in steps:
                    yield found
            event.facts |= {"windows": len(found.frames), "ranges": len(found.ranges)}
            event.outcome = "done" if found.progress is None else "stopped"

    return find


def queued(
    engine: Engine, source: VideoSource, search: Search, should_stop: Stop, queue: AdmissionQueue
) -> Generator[Moments]:
    """Queue again for each chunk of frames, so that chats get their turns in between."""
    found = Moments()
    with (
        queue.enqueue(source.num_frames) as ticket,
        closing(find_moments(engine, source, search, should_stop)) as steps,
    ):
        while True:
            for position in queue.wait(ticket, should_stop):
                yield Moments(found.frames, found.ranges, position, found.notes)
            newer = next(steps, None) if ticket.admitted.is_set() else None
            if newer is None:
                return
            num_before, found = len(found.frames), newer
            yield found
            if len(found.frames) > num_before:
                queue.requeue(ticket)
