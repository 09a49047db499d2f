"""Answering on a borrowed GPU, as on a ZeroGPU Space: questions go to a process that keeps nothing, events come back.

The page, the stored frames and the conversation stay here. A question goes over with its source, which names its stored
files, and the earlier turns. Several questions can share one borrowing, which pays for the start only once.
"""

import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from longva_demo.chat.answering import Answerer, Events
from longva_demo.chat.engine import Engine
from longva_demo.chat.lines import ChatLines
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import Source
from longva_demo.chat.turn import Progress, Stage, TextDelta, Turn
from longva_demo.chat.zero_gpu import MAX_SECONDS, START, errors_of_zero_gpu, quota_factor, seconds_to_work
from longva_demo.errors import DemoError
from longva_demo.folders import own_folder


@dataclass(frozen=True)
class GpuQuestion:
    """A question, with the source, the earlier turns and the lines of its chat."""

    source: Source | None
    turns: list[Turn]
    question: str
    sampling: Sampling
    lines: ChatLines | None = None

    @property
    def seconds(self) -> float:
        """GPU seconds that it needs, once the GPU has started."""
        num_frames, has_features = (
            (0, False) if self.source is None else (self.source.num_frames, self.source.has_features)
        )
        return seconds_to_work(num_frames, has_features, self.sampling.max_new_tokens)


@dataclass(frozen=True)
class EndOfAnswer:
    """What the other process sends after each answer: its turn, or the error of a question that has none."""

    turn: Turn | None = None
    error: tuple[str, str] | None = None


GpuRequest = tuple[list[GpuQuestion], str]
"""Questions of one borrowing, and the path of the file whose existence means stop."""
GpuEvent = Progress | TextDelta | EndOfAnswer


def seconds_needed(request: GpuRequest) -> float:
    """GPU seconds to request. They count against the visitor's quota, so no more than the questions need."""
    return min(MAX_SECONDS / quota_factor(), START + sum(question.seconds for question in request[0]))


class Borrowing:
    """One use of a GPU for the next question of each of these chats, in their order."""

    def __init__(self, chats: Sequence[tuple[ChatSession, str, Sampling]]) -> None:
        self._chats = chats
        self._num_left = len(chats)
        self._events: Generator[GpuEvent] | None = None
        self._resources = ExitStack()
        self._stop_file = Path()

    def ask(
        self, lent: Callable[[GpuRequest], Generator[GpuEvent]], turns: list[Turn], stopping: threading.Event
    ) -> Iterator[GpuEvent]:
        """The events of the next question, up to its end. The first one borrows the GPU."""
        if self._events is None:
            yield from self._decode(stopping)
            if stopping.is_set():
                return
            folder = self._resources.enter_context(tempfile.TemporaryDirectory(dir=own_folder()))
            self._stop_file = Path(folder) / "stop"
            earlier = [turns, *(chat.turns for chat, _, _ in self._chats[1:])]
            questions = [
                GpuQuestion(chat.source, before, question, sampling, chat.lines)
                for (chat, question, sampling), before in zip(self._chats, earlier, strict=True)
            ]
            self._events = lent((questions, str(self._stop_file)))
            self._resources.callback(self._events.close)
        for event in self._events:
            if stopping.is_set():
                self._stop_file.touch()
            if isinstance(event, EndOfAnswer):
                self._num_left -= 1
                if self._num_left:
                    yield event
                    return
            yield event

    def close(self) -> None:
        self._resources.close()

    def _decode(self, stopping: threading.Event) -> Iterator[Progress]:
        """Decoding needs no GPU, so finish it before borrowing one."""
        for chat, _, _ in self._chats:
            if (source := chat.source) is not None:
                for _ in source.ensure_decoded(stopping.is_set):
                    yield Progress(Stage.SAMPLING, len(source.frame_refs), source.num_frames)


# The borrowings that several chats share, by chat.
_shared: WeakKeyDictionary[ChatSession, Borrowing] = WeakKeyDictionary()


@contextmanager
def borrow_once(chats: Sequence[tuple[ChatSession, str, Sampling]]) -> Iterator[None]:
    """Inside, the next question of each of these chats, asked in this order, shares one borrowing of a GPU.

    It changes nothing for an answerer that borrows none.
    """
    borrowing = Borrowing(chats)
    _shared.update({chat: borrowing for chat, _, _ in chats})
    try:
        yield
    finally:
        for chat, _, _ in chats:
            _shared.pop(chat, None)
        borrowing.close()


def group_by_borrowing(seconds: Sequence[float]) -> list[list[int]]:
    """Which questions, by index, to ask together: neighbours, as long as one borrowing has time for them.

    >>> group_by_borrowing([10.0, 20.0, 60.0, 200.0])
    [[0, 1, 2], [3]]
    """
    limit = MAX_SECONDS / quota_factor() - START
    groups: list[list[int]] = []
    for index, needed in enumerate(seconds):
        if groups and sum(seconds[other] for other in groups[-1]) + needed <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def make_gpu_answerer(engine: Engine, lend: Callable[..., Any]) -> Answerer:
    """An answerer whose questions run wherever `lend` (`spaces.GPU`) runs the generator function that it decorates."""

    def answer_there(request: GpuRequest) -> Iterator[GpuEvent]:
        questions, stop_file = request
        for asked in questions:
            if not Path(stop_file).exists():
                yield from answer_one(engine, asked, Path(stop_file))

    lent = lend(duration=seconds_needed)(answer_there)

    def answer_on_gpu(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        source, turns = session.source, session.turns[: len(session.turns) - again]
        shared = _shared.pop(session, None)
        borrowing = shared or Borrowing([(session, question, sampling)])
        with ExitStack() as resources, errors_of_zero_gpu():
            if shared is None:
                resources.callback(borrowing.close)
            for event in borrowing.ask(lent, turns, stopping):
                if not isinstance(event, EndOfAnswer):
                    yield event
                elif event.error is not None:
                    raise DemoError(*event.error)
                elif event.turn is not None:
                    session.resume(source, [*turns, event.turn])

    return answer_on_gpu


def answer_one(engine: Engine, asked: GpuQuestion, stop_file: Path) -> Iterator[GpuEvent]:
    """Answer a question where the GPU is, and end with EndOfAnswer."""
    session = ChatSession(engine)
    session.resume(asked.source, asked.turns)
    session.lines = asked.lines
    try:
        for event in session.ask(asked.question, asked.sampling):
            if stop_file.exists():
                session.stop()
            yield event
    except DemoError as error:
        yield EndOfAnswer(error=(error.message, error.remedy))
        return
    yield EndOfAnswer(turn=session.turns[-1] if len(session.turns) > len(asked.turns) else None)
