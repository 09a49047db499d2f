"""Progress and text of an answer, as they reach the page."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from longva_demo.chat import Progress, Stage, TextDelta
from longva_demo.page.i18n import Message, message
from longva_demo.page.transcript import WAITING, Draft

# While words stream in, the transcript is sent at most this often.
SECONDS_BETWEEN_UPDATES = 0.05


def follow(events: Iterator[object], update: Callable[[Draft], None], draft: Draft = WAITING) -> Iterator[None]:
    """Pass each newer draft of an answer to `update`; yields when the browser should be updated."""
    last = 0.0
    for event in events:
        if isinstance(event, Progress):
            share = 0.0 if event.stage == Stage.QUEUED else event.done / max(1, event.total)
            draft = replace(draft, status=progress_message(event), progress=share)
        elif isinstance(event, TextDelta):
            if not draft.answer:
                last = 0.0  # the first words appear at once
            draft = replace(draft, answer=draft.answer + event.text, status=None)
        update(draft)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_UPDATES:
            last = now
            yield


def progress_message(event: Progress) -> Message:
    if event.stage != Stage.QUEUED:
        return message(f"progress.{event.stage}", done=event.done, total=event.total)
    if event.seconds is None:
        return message("progress.queued", done=event.done)
    return message("progress.queued_time", done=event.done, duration=event.seconds)
