"""The waiting line before the model: a few videos are read at a time, the others wait in the order of arrival.

What takes much longer than a reading (the needle test) gives its turn up after each step, and joins the line's end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from longva_demo.chat.budget import PrefillTimes
from longva_demo.chat.turn import Progress, Stage
from longva_demo.errors import DemoError

# One video is decoded while another is read; more at once would only make each slower.
AT_ONCE = 2
MAX_WAITING = 32
SECONDS_BETWEEN_LOOKS = 0.25  # at one's place in the line


@dataclass(eq=False)
class Place:
    """Somebody's place in the line; `called` is set when it is their turn."""

    num_frames: int
    called: threading.Event = field(default_factory=threading.Event)


class AdmissionQueue:
    """Who may have a video read next. Questions about a video that was read need no place."""

    def __init__(self, prefill_times: PrefillTimes, at_once: int = AT_ONCE, max_waiting: int = MAX_WAITING) -> None:
        self._prefill_times = prefill_times
        self._at_once, self._max_waiting = at_once, max_waiting
        self._guard = threading.Lock()
        self._lease: list[Place] = []
        self._waiting: list[Place] = []

    @contextmanager
    def join(self, num_frames: int) -> Iterator[Place]:
        """A place, given up at the end, whether it was called or not.

        Raises:
            DemoError: the line is full.
        """
        place = Place(num_frames)
        with self._guard:
            if len(self._waiting) >= self._max_waiting:
                raise DemoError(
                    f"{len(self._waiting)} others are waiting for their videos to be read, and the line is full",
                    "try again in a few minutes",
                )
            self._waiting.append(place)
            self._call()
        try:
            yield place
        finally:
            with self._guard:
                (self._lease if place.called.is_set() else self._waiting).remove(place)
                self._call()

    def wait(self, place: Place, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Until the place is called, or `should_stop()` turns true, say where it stands."""
        while not place.called.wait(SECONDS_BETWEEN_LOOKS) and not should_stop():
            yield self.progress(place)

    def requeue(self, place: Place) -> None:
        """Give a turn up and go to the line's end, however full it is; where nobody waits, it is called at once."""
        with self._guard:
            self._lease.remove(place)
            place.called.clear()
            self._waiting.append(place)
            self._call()

    def progress(self, place: Place) -> Progress:
        """Where a place that was not yet called stands, 1 is next, and about how long it has still to wait."""
        with self._guard:
            number = self._waiting.index(place) if place in self._waiting else 0
            ahead = [*self._lease, *self._waiting[:number]]
            seconds = [self._prefill_times.estimate(other.num_frames) for other in ahead]
            known = [second for second in seconds if second is not None]
            left = sum(known) / self._at_once if len(known) == len(seconds) else None
            return Progress(Stage.QUEUED, number + 1, len(self._waiting), left)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def _call(self) -> None:
        while self._waiting and len(self._lease) < self._at_once:
            place = self._waiting.pop(0)
            self._lease.append(place)
            place.called.set()
