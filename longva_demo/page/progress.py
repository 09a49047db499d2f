"""Progress and text of an answer, as they reach the page."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from longva_demo.chat import Progress, Stage, TextDelta
from longva_demo.page.i18n import Message, message
from longva_demo.page.transcript import WAITING, Draft

# While words stream in, the transcript is sent at most this often.
SECONDS_BETWEEN_UPDATES = 0.05
# The time left is shown once a stage has run this long.
SECONDS_BEFORE_ESTIMATE = 2.0


class TimeLeft:
    """The time that the present stage still takes, from its rate so far."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._stage: Stage | None = None
        self._since, self._share = 0.0, 0.0

    def update(self, event: Progress) -> float | None:
        """Seconds; None while it cannot be told."""
        if event.stage != self._stage:
            self._stage, self._since, self._share = event.stage, self._now(), event.share_done
        seconds, share = self._now() - self._since, event.share_done - self._share
        if seconds < SECONDS_BEFORE_ESTIMATE or share <= 0:
            return None
        return (1 - event.share_done) * seconds / share


def follow(events: Iterator[object], update: Callable[[Draft], None], draft: Draft = WAITING) -> Iterator[None]:
    """Pass each newer draft of an answer to `update`; yields when the browser should be updated."""
    last, time_left = 0.0, TimeLeft()
    for event in events:
        if isinstance(event, Progress):
            share = 0.0 if event.stage == Stage.QUEUED else event.share_done
            draft = replace(draft, status=progress_message(event, time_left.update(event)), progress=share)
        elif isinstance(event, TextDelta):
            if not draft.answer:
                last = 0.0  # the first words appear at once
            draft = replace(draft, answer=draft.answer + event.text, status=None)
        update(draft)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_UPDATES:
            last = now
            yield


def progress_message(event: Progress, seconds_left: float | None = None) -> Message:
    if event.stage != Stage.QUEUED:
        if seconds_left is None:
            return message(f"progress.{event.stage}", done=event.done, total=event.total)
        return message(f"progress.{event.stage}_time", done=event.done, total=event.total, duration=seconds_left)
    if event.seconds is None:
        return message("progress.queued", done=event.done)
    return message("progress.queued_time", done=event.done, duration=event.seconds)
