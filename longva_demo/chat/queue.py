"""Admission to the model: a few videos are prefilled at a time, others wait.

The next one is of the client that has the fewest admitted, then in order of arrival. The last place stays free for
another client.

Work that takes much longer than a prefill (the needle test) gives up its turn after each step and requeues.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from longva_demo.chat.budget import PrefillTimes
from longva_demo.chat.turn import Progress, Stage
from longva_demo.quotas import CLIENT, QuotaError, fairest

# One video is decoded while another is prefilled; more of one client would only slow each of them down.
MAX_ADMITTED = 3
MAX_WAITING = 128
POLL_SECONDS = 0.25


@dataclass(eq=False)
class Ticket:
    """One request in the queue; `admitted` is set when its turn has come."""

    num_frames: int
    client: str
    admitted: threading.Event = field(default_factory=threading.Event)


class AdmissionQueue:
    """Decides whose video is prefilled next. Questions about a cached video do not queue."""

    def __init__(
        self,
        prefill_times: PrefillTimes,
        max_admitted: Callable[[], int] = lambda: MAX_ADMITTED,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """`max_admitted` may change: it is called whenever a ticket comes or leaves."""
        self._prefill_times = prefill_times
        self._max_admitted, self._max_waiting = max_admitted, max_waiting
        self._lock = threading.Lock()
        self._admitted: list[Ticket] = []
        self._waiting: list[Ticket] = []

    @contextmanager
    def enqueue(self, num_frames: int) -> Iterator[Ticket]:
        """A ticket, which leaves the queue at the end of the block, admitted or not.

        Raises:
            QuotaError: the queue is full.
        """
        ticket = Ticket(num_frames, CLIENT.get())
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise QuotaError(
                    f"the queue is full: {len(self._waiting)} others are waiting for their videos to be processed",
                    "try again in a few minutes",
                )
            self._waiting.append(ticket)
            self._admit()
        try:
            yield ticket
        finally:
            with self._lock:
                (self._admitted if ticket.admitted.is_set() else self._waiting).remove(ticket)
                self._admit()

    def wait(self, ticket: Ticket, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Yield the ticket's position until it is admitted or `should_stop()` turns true."""
        while not ticket.admitted.wait(POLL_SECONDS) and not should_stop():
            yield self.position(ticket)

    def requeue(self, ticket: Ticket) -> None:
        """Move an admitted ticket to the end of the queue, even if that is full. Admitted again if nobody waits."""
        with self._lock:
            self._admitted.remove(ticket)
            ticket.admitted.clear()
            self._waiting.append(ticket)
            self._admit()

    def position(self, ticket: Ticket) -> Progress:
        """The position of a waiting ticket (1 is next), the queue's length and an estimate of the wait."""
        with self._lock:
            num_before = self._waiting.index(ticket) if ticket in self._waiting else 0
            ahead = [*self._admitted, *self._waiting[:num_before]]
            estimates = [self._prefill_times.estimate(other.num_frames) for other in ahead]
            known = [seconds for seconds in estimates if seconds is not None]
            left = sum(known) / self._max_admitted() if len(known) == len(estimates) else None
            return Progress(Stage.QUEUED, num_before + 1, len(self._waiting), left)

    def __len__(self) -> int:
        """How many tickets wait."""
        return len(self._waiting)

    def _admit(self) -> None:
        max_admitted = self._max_admitted()
        most = max(1, max_admitted - 1)
        while len(self._admitted) < max_admitted:
            admitted = Counter(ticket.client for ticket in self._admitted)
            allowed = [ticket for ticket in self._waiting if not ticket.client or admitted[ticket.client] < most]
            if not allowed:
                break
            ticket = fairest(allowed, admitted, lambda waiting: waiting.client)
            self._waiting.remove(ticket)
            self._admitted.append(ticket)
            ticket.admitted.set()
