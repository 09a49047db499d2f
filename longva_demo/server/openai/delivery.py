"""Sends an answer to its client, whole or as it is written, and stops it when the client leaves."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from longva_demo.chat import Progress, Stage, TextDelta
from longva_demo.server.conversations import Answered
from longva_demo.server.openai.errors import ApiError, api_error
from longva_demo.server.openai.stops import StopTexts
from longva_demo.server.running import RunningAnswer

# Until then, an error before the first word has a status; afterwards the stream begins, and shows progress.
GRACE_SECONDS = 10.0
KEEP_ALIVE_SECONDS, PROGRESS_SECONDS = 10.0, 1.0
STAGES = {Stage.QUEUED: "waiting", Stage.SAMPLING: "sampling"}
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold events back
Shown = Progress | str | Answered | None  # None: nothing has happened for KEEP_ALIVE_SECONDS


class Reply(Protocol):
    """The form of an answer."""

    shows_progress: bool

    def whole(self, text: str, answered: Answered, is_stopped: bool) -> dict[str, Any]: ...
    def opening(self) -> Iterator[str]: ...
    def progress(self, progress: Progress) -> Iterator[str]: ...
    def text(self, text: str) -> Iterator[str]: ...
    def closing(self, text: str, answered: Answered, is_stopped: bool) -> Iterator[str]: ...
    def failure(self, error: ApiError) -> Iterator[str]: ...


class Delivery:
    """One answer on its way to one client."""

    def __init__(self, http: Request, answer: RunningAnswer, reply: Reply, stops: StopTexts) -> None:
        self._answer = answer
        self._reply = reply
        self._stops = stops
        self._text = ""
        self._gone = asyncio.create_task(until_disconnected(http))
        self._gone.add_done_callback(lambda _: answer.stop())

    async def whole(self) -> Response:
        """Raises what the answer raises."""
        try:
            async for event in self._events():
                if isinstance(event, Answered):
                    return JSONResponse(self._reply.whole(self._text, event, self._stops.found))
            raise AssertionError("the last event is Answered")
        finally:
            self._gone.cancel()

    async def stream(self) -> Response:
        """Raises what the answer raises before the first word, within GRACE_SECONDS."""
        events, first, started = self._events(), [], time.monotonic()
        try:
            async for event in events:
                first.append(event)
                is_word = isinstance(event, str | Answered)
                is_wanted = isinstance(event, Progress) and self._reply.shows_progress
                if is_word or is_wanted or time.monotonic() - started > GRACE_SECONDS:
                    break
        except BaseException:
            self._gone.cancel()
            raise
        return StreamingResponse(self._parts(first[-1:], events), media_type="text/event-stream", headers=HEADERS)

    async def _parts(self, first: list[Shown], events: AsyncIterator[Shown]) -> AsyncIterator[str]:
        """Server-sent events. An error is the last one."""
        shown_at = 0.0
        try:
            for part in self._reply.opening():
                yield part
            async for event in chain(first, events):
                if isinstance(event, Progress) and time.monotonic() - shown_at < PROGRESS_SECONDS:
                    continue
                shown_at = time.monotonic()
                for part in self._shown(event):
                    yield part
        except Exception as error:
            for part in self._reply.failure(api_error(error)):
                yield part
        finally:
            self._gone.cancel()

    def _shown(self, event: Shown) -> Iterator[str]:
        if isinstance(event, str):
            yield from self._reply.text(event)
        elif isinstance(event, Answered):
            yield from self._reply.closing(self._text, event, self._stops.found)
        elif isinstance(event, Progress):
            yield f": {STAGES.get(event.stage, 'reading')} {event.done}/{event.total}\n\n"
            yield from self._reply.progress(event)
        else:
            yield ": still working\n\n"

    async def _events(self) -> AsyncIterator[Shown]:
        """The answer's events, with its text up to a stop text. The last one is `Answered`."""
        while True:
            event = await self._answer.next(KEEP_ALIVE_SECONDS)
            shown = ""
            if isinstance(event, TextDelta):
                shown = self._stops.add(event.text)
                if self._stops.found:
                    self._answer.end_early()
            elif isinstance(event, Answered):
                shown = self._stops.finish()
            if shown:
                self._text += shown
                yield shown
            if not isinstance(event, TextDelta):
                yield event
            if isinstance(event, Answered):
                return


async def until_disconnected(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def chain(first: list[Shown], rest: AsyncIterator[Shown]) -> AsyncIterator[Shown]:
    for event in first:
        yield event
    async for event in rest:
        yield event
