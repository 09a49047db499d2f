"""The front for asyncio."""

import asyncio

import pytest

import longva_demo as longva
from longva_demo import DemoError, aio
from longva_demo.page.components.gallery import EXAMPLES_FOLDER

CLIP = EXAMPLES_FOLDER / "shapes.mp4"
QUESTION = "What do you see?"


async def two_chats() -> list[str]:
    """At the same time, on one event loop."""
    async with (
        await aio.open(CLIP, frames=8, model="tiny") as one,
        await aio.open(CLIP, frames=16, model="tiny") as two,
    ):
        answers = await asyncio.gather(one.answer(QUESTION), two.answer(QUESTION))
        assert [len(chat.frames) for chat in (one, two)] == [8, 16]
        assert (await one.attribution()) is not None
        return answers


def test_the_same_answers() -> None:
    expected = []
    for frames in (8, 16):
        with longva.open(CLIP, frames=frames, model="tiny") as chat:
            expected.append(chat.answer(QUESTION))
    assert asyncio.run(two_chats()) == expected


async def cancelled() -> None:
    async with await aio.open(CLIP, frames=8, model="tiny") as chat:
        started = asyncio.Event()

        async def read() -> None:
            async for _ in chat.stream(QUESTION):
                started.set()

        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert chat.turns[-1].stats.stopped
        assert await chat.answer(QUESTION)  # the chat goes on


def test_cancelling_stops_the_answer() -> None:
    asyncio.run(cancelled())


def test_errors_arrive() -> None:
    with pytest.raises(DemoError, match="the question is empty"):
        asyncio.run(empty())


async def empty() -> None:
    async with await aio.open(None, model="tiny") as chat:
        await chat.answer(" ")
