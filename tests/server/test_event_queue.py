"""The queue of events: quotas, fair turns, and what is never read."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio import queueing
from gradio.data_classes import PredictBodyInternal
from gradio.server_messages import ProcessGeneratingMessage
from starlette.exceptions import HTTPException

from longva_demo.quotas import Holding, Quota, QuotaError, Quotas
from longva_demo.server.bodies import BODY_BYTES
from longva_demo.server.event_queue import UNREAD_MESSAGES, FairQueue, Outbox, client_of_event, use_fair_queue
from longva_demo.server.rate_limit import RateLimit
from longva_demo.settings import Settings


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FairQueue:
    """Of an app with one handler that can run eight times, four of them for one client."""
    monkeypatch.setattr(queueing, "Queue", queueing.Queue)  # so that it is restored
    quotas = Quotas(Settings())
    quotas.events = Quota("waiting requests", 40, 0.25)
    use_fair_queue(quotas, RateLimit(1000, "events"), 0.5)
    with gr.Blocks() as app:
        gr.Button().click(lambda: None, api_name="handle")
    app.queue(default_concurrency_limit=8)
    assert isinstance(app._queue, FairQueue)
    return app._queue


def push(queue: FairQueue, client: str, session: str | None = "one", num_bytes: int = 10) -> str:
    scope = {"type": "http", "client": (client, 1), "headers": [], BODY_BYTES: num_bytes}
    body = PredictBodyInternal(data=[], fn_index=0, session_hash=session)
    _, event, state = asyncio.run(queue.push(body, SimpleNamespace(scope=scope), None))  # type: ignore[arg-type]
    assert state == "success"
    return str(event)


def next_clients(queue: FairQueue, number: int) -> list[str | None]:
    """The clients of the next events that start."""
    found = [queue.get_events() for _ in range(number)]
    return [client_of_event(events[0][0]) if events else None for events in found]


def test_clients_take_turns(queue: FairQueue) -> None:
    for client in ("10.0.0.1",) * 6 + ("10.0.0.2",) * 2:
        push(queue, client)
    a, b = "10.0.0.1", "10.0.0.2"
    assert next_clients(queue, 7) == [a, b, a, b, a, a, None]  # the rest of the eight calls is for others
    push(queue, "10.0.0.3")
    assert next_clients(queue, 2) == ["10.0.0.3", None]


def test_an_event_that_ends_makes_room(queue: FairQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    async def process(self: Any, events: Any, *_: Any) -> None:
        await self.remove_from_queue(events[0]._id)
        self.event_ids_to_events.pop(events[0]._id, None)

    monkeypatch.setattr(queueing.Queue.__mro__[2], "process_events", process)
    quotas = queue.quotas_
    for _ in range(5):
        push(queue, "10.0.0.1")
    started = [queue.get_events() for _ in range(5)]
    assert started[4] is None
    assert (quotas.events.used, quotas.body_bytes.used) == (5, 50)
    assert started[0] is not None
    asyncio.run(queue.process_events(*started[0]))
    assert (quotas.events.used, quotas.body_bytes.used) == (4, 40)
    assert next_clients(queue, 2) == ["10.0.0.1", None]


def test_a_client_has_a_share_of_the_places(queue: FairQueue) -> None:
    for _ in range(10):
        push(queue, "10.0.0.1")
    with pytest.raises(HTTPException) as refused:
        push(queue, "10.0.0.1")
    assert refused.value.status_code == 429
    assert refused.value.detail == "your network address has too many waiting requests; try again in a minute"
    push(queue, "10.0.0.2")
    asyncio.run(queue.clean_events(session_hash="one"))  # the page has gone
    gc.collect()
    assert (queue.quotas_.events.used, queue.quotas_.body_bytes.used) == (0, 0)


def test_events_count_for_the_rate_when_they_arrive(queue: FairQueue) -> None:
    type(queue).rate_ = RateLimit(2, "events")
    push(queue, "10.0.0.1", "one")
    push(queue, "10.0.0.1", "two")
    with pytest.raises(HTTPException, match="the limit of 2 events per minute is reached; wait") as refused:
        push(queue, "10.0.0.1", "three")
    assert refused.value.status_code == 429
    assert len(queue) == 2


def test_a_session_has_a_short_name(queue: FairQueue) -> None:
    push(queue, "10.0.0.1", "x" * 64)
    push(queue, "10.0.0.1", None)
    with pytest.raises(HTTPException, match="more than 64 characters; shorten it"):
        push(queue, "10.0.0.1", "x" * 65)
    assert sorted(map(len, queue.pending_messages_per_session)) == [32, 64]


def test_messages_that_nobody_reads_end_the_event(queue: FairQueue) -> None:
    quota = queue.quotas_.unread_bytes = Quota("answers that nobody reads", 10_000)
    identity = push(queue, "10.0.0.1")
    event = queue.event_ids_to_events[identity]
    message = ProcessGeneratingMessage(output={"data": ["x" * 1000]}, success=True)
    before = len(queue.pending_messages_per_session["one"]._sizes)  # type: ignore[attr-defined]
    for _ in range(UNREAD_MESSAGES - before):
        queue.send_message(event, message)
    assert quota.used == 0
    queue.send_message(event, message)
    assert 1000 < quota.used < 1500
    assert event.alive
    for _ in range(10):
        queue.send_message(event, message)
    assert not event.alive
    assert "one" not in queue.pending_messages_per_session
    gc.collect()
    assert quota.used == 0
    queue.forget_sessions()
    assert queue.pending_event_ids_session == {}


def test_reading_gives_back() -> None:
    quota = Quota("answers that nobody reads", 10_000)

    async def run() -> None:
        box = Outbox(Holding(quota, "a"))
        message = ProcessGeneratingMessage(output={"data": ["x" * 1000]}, success=True)
        for _ in range(UNREAD_MESSAGES + 5):
            box.put_nowait(message)
        assert quota.used > 5000
        while quota.used + 1100 < quota.maximum:
            box.put_nowait(message)
        with pytest.raises(QuotaError):
            box.put_nowait(message)
        while not box.empty():
            assert await box.get() is message
        assert quota.used == 0

    asyncio.run(run())
