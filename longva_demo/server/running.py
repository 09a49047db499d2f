"""An answer that a thread writes, read on the event loop."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from contextvars import copy_context

from longva_demo.chat import Progress, TextDelta
from longva_demo.errors import DemoError
from longva_demo.server.conversations import Answered, Stopping

Event = Progress | TextDelta | Answered


class RunningAnswer:
    """Starts with its creation. `stop` it in any case; it may have ended already."""

    def __init__(self, answer: Callable[[Stopping], Generator[Event]]) -> None:
        self._answer = answer
        self._stopping = Stopping()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        # The client and its names for the rate limits are in the context.
        threading.Thread(target=copy_context().run, args=(self._run,), name="answer", daemon=True).start()

    async def next(self, seconds: float) -> Event | None:
        """The next event, None if there is none for so long. The last one is `Answered`.

        Raises:
            Exception: as `Conversations.answer`; a DemoError if the answer was stopped before its first word.
        """
        try:
            async with asyncio.timeout(seconds):
                event = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    def end_early(self) -> None:
        """End the answer at its next token; what follows it, such as the attribution, still happens."""
        self._stopping.end_answer()

    def stop(self) -> None:
        """The client has left."""
        self._stopping.set()

    def _run(self) -> None:
        last: Event | None = None
        try:
            with closing(self._answer(self._stopping)) as events:
                for last in events:
                    self._put(last)
            if not isinstance(last, Answered):
                self._put(DemoError("the answer was stopped before its first word", "ask again"))
        except Exception as error:
            self._put(error)

    def _put(self, event: Event | Exception) -> None:
        with suppress(RuntimeError):  # the loop has ended, with the server
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
