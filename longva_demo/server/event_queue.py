"""Gradio's queue of events, under quotas, and fair: the next event is of the client that has the fewest running."""

import asyncio
import secrets
from collections import Counter, defaultdict, deque
from typing import Any

import fastapi
import orjson
from gradio import queueing
from gradio.data_classes import PredictBodyInternal
from gradio.server_messages import EventMessage
from starlette.exceptions import HTTPException

from longva_demo.errors import DemoError
from longva_demo.page.sessions import MAX_NAME_CHARACTERS
from longva_demo.quotas import Holding, QuotaError, Quotas, client_of, fairest
from longva_demo.server.bodies import BODY_BYTES
from longva_demo.server.rate_limit import RateLimit, caller_names

POLL_SECONDS = 0.005  # Gradio's own 0.001 costs an idle server CPU time
# In the scope of an event's request.
HELD, EVENT_CLIENT = "longva.held", "longva.client"
# A page reads its messages at once. The bytes of those after the first few count.
UNREAD_MESSAGES = 16


def use_fair_queue(quotas: Quotas, rate: RateLimit, share: float) -> None:
    """Let Gradio use the queue below, for the Blocks that are built next.

    rate: of all events. They count when they arrive, since a waiting event costs memory too.
    share: of the simultaneous calls of a handler, what one client can use.
    """

    class LimitedByQuotas(FairQueue):
        quotas_, rate_, share_ = quotas, rate, share

    queueing.Queue = LimitedByQuotas  # type: ignore[misc]


class FairQueue(queueing.Queue):
    quotas_: Quotas
    rate_: RateLimit
    share_: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sleep_when_free = POLL_SECONDS
        self._running: defaultdict[str, Counter[str]] = defaultdict(Counter)  # by concurrency id and client

    async def push(self, body: PredictBodyInternal, request: fastapi.Request, username: str | None) -> Any:
        """Enqueue an event.

        Raises:
            HTTPException: the rate limit or a quota is exceeded, or the session's name is too long.
        """
        session = body.session_hash = body.session_hash or secrets.token_hex(16)
        client, num_bytes = client_of(request.scope), request.scope.get(BODY_BYTES, 0)
        if len(session) > MAX_NAME_CHARACTERS:
            raise HTTPException(400, f"the session's name has more than {MAX_NAME_CHARACTERS} characters; shorten it")
        try:
            self.rate_.count(*caller_names(session, request.scope))
            # The event keeps its request, and so what it holds.
            request.scope[HELD] = (
                Holding(self.quotas_.events, client, 1),
                Holding(self.quotas_.body_bytes, client, num_bytes),
            )
            request.scope[EVENT_CLIENT] = client
            if session not in self.pending_messages_per_session:
                self.pending_messages_per_session[session] = Outbox(Holding(self.quotas_.unread_bytes, client))
            return await super().push(body, request, username)
        except DemoError as error:
            raise HTTPException(429, str(error)) from None

    def get_events(self) -> tuple[list[queueing.Event], bool, str] | None:
        """The next event, whose handler is not called more often than it may be."""
        for name, waiting in self.event_queue_per_concurrency_id.items():
            limit, running = waiting.concurrency_limit, self._running[name]
            if not waiting.queue or (limit is not None and waiting.current_concurrency >= limit):
                continue
            most = max(1, int(self.share_ * limit)) if limit is not None else len(waiting.queue)
            allowed = [event for event in waiting.queue if running[client_of_event(event)] < most]
            if allowed:
                event = fairest(allowed, running, client_of_event)
                waiting.queue.remove(event)
                running[client_of_event(event)] += 1
                return [event], False, name
        return None

    async def process_events(self, events: list[queueing.Event], *args: Any) -> None:
        try:
            await super().process_events(events, *args)
        finally:
            events[0].request.scope.pop(HELD, None)
            running = self._running[events[0].concurrency_id]
            running[client_of_event(events[0])] -= 1
            self._running[events[0].concurrency_id] = +running

    def send_message(self, event: queueing.Event, event_message: EventMessage) -> None:
        """Send a message to the page of `event`. If too much is unread, the event ends, and what is unread is lost."""
        try:
            super().send_message(event, event_message)
        except QuotaError:
            event.alive = False
            self.pending_messages_per_session.pop(event.session_hash, None)

    def compute_analytics_summary(self, _records: Any) -> dict[str, Any]:
        """Nothing. Gradio would evaluate the last 10,000 events after each one; `/metrics` counts them."""
        return {}

    def forget_sessions(self) -> None:
        """Forget the events of sessions whose messages are gone. Gradio keeps them."""
        for session in list(self.pending_event_ids_session):
            if session not in self.pending_messages_per_session:
                self.pending_event_ids_session.pop(session, None)


def client_of_event(event: queueing.Event) -> str:
    return str(event.request.scope[EVENT_CLIENT])


class Outbox(asyncio.Queue[EventMessage]):
    """The messages that one page has not read."""

    def __init__(self, held: Holding) -> None:
        super().__init__()
        self._held = held
        self._sizes: deque[int] = deque()

    def _put(self, message: EventMessage) -> None:
        is_read = len(self._sizes) < UNREAD_MESSAGES
        size = 0 if is_read else len(orjson.dumps(message.model_dump(), default=str))
        self._held.add(size)
        self._sizes.append(size)
        super()._put(message)

    def _get(self) -> EventMessage:
        self._held.remove(self._sizes.popleft())
        return super()._get()
