"""The chat of `longva.open` for asyncio: the same names, with `await` and `async for`. The work runs on threads.

async with await aio.open("clip.mp4", frames=64) as chat:
    async for text in chat.stream("Which digit is shown?"):
        print(text, end="")
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from longva_demo import conversation
from longva_demo.chat import Attribution, FrameRef, Progress, TextDelta, Turn

T = TypeVar("T")
END = object()


class Chat:
    """`conversation.Chat` for asyncio. Cancelling the task that reads an answer stops it; the text so far is kept."""

    def __init__(self, chat: conversation.Chat) -> None:
        self._chat = chat

    async def stream(self, question: str, **sampling: Any) -> AsyncIterator[str]:
        """The answer in pieces of text; `sampling` as in `conversation.Chat.stream`."""
        async with aclosing(self.stream_events(question, **sampling)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    yield event.text

    async def stream_events(self, question: str, **sampling: Any) -> AsyncGenerator[Progress | TextDelta]:
        """`Progress` events, then `TextDelta` events."""
        steps = self._chat.stream_events(question, **sampling)
        async with aclosing(on_threads(steps, self._chat.stop)) as events:
            async for event in events:
                yield event

    async def answer(self, question: str, **sampling: Any) -> str:
        """The whole answer."""
        return "".join([text async for text in self.stream(question, **sampling)])

    async def attribution(self) -> Attribution | None:
        """Which frames the last answer relied on; see `conversation.Chat.attribution`."""
        return await asyncio.to_thread(lambda: self._chat.attribution)

    @property
    def frames(self) -> list[FrameRef]:
        return self._chat.frames

    @property
    def turns(self) -> list[Turn]:
        return self._chat.turns

    @property
    def notes(self) -> list[str]:
        return self._chat.notes

    def stop(self) -> None:
        self._chat.stop()

    async def close(self) -> None:
        await asyncio.to_thread(self._chat.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open(path: str | Path | None, **options: Any) -> Chat:
    """`longva.open` with the same arguments. Loading the model does not block the event loop."""
    return Chat(await asyncio.to_thread(conversation.open, path, **options))


async def on_threads(steps: Iterator[T], stop: Callable[[], None]) -> AsyncGenerator[T]:
    """Each step of `steps` on a thread. If the reader is cancelled, `stop` is called, and the step awaited."""
    try:
        while True:
            step = asyncio.get_running_loop().run_in_executor(None, next, steps, END)
            try:
                value = await asyncio.shield(step)
            except asyncio.CancelledError:
                stop()
                await asyncio.wait([step])
                raise
            if value is END:
                return
            yield value  # type: ignore[misc]
    finally:
        close: Callable[[], None] | None = getattr(steps, "close", None)
        if close is not None:
            close()
