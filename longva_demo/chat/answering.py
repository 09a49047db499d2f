"""Who answers a question: a session in this process or, on a ZeroGPU Space, one in a process that borrows a GPU.

On ZeroGPU, a GPU is lent for seconds to a process that keeps nothing. The page, the stored frames and the conversation
stay here. A question goes over with its source, which names its stored files, and the earlier turns; events come back.
No KV cache survives, so the features are stored on disk: a second question need not encode the video again.
"""

import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

from longva_demo.chat.engine import Engine
from longva_demo.chat.queue import AdmissionQueue
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import Source
from longva_demo.chat.turn import Progress, Stage, TextDelta, Turn
from longva_demo.chat.zero_gpu import errors_of_zero_gpu, is_zero_gpu, seconds_to_ask_for
from longva_demo.errors import DemoError
from longva_demo.folders import own_folder

Events = Generator[Progress | TextDelta]
GpuRequest = tuple[Source | None, list[Turn], str, Sampling, str]
"""source, earlier turns, question, sampling, path of the file whose existence means stop"""

# Most of these wait in the queue, where the page shows their position.
MAX_CONCURRENT_QUESTIONS = 64


class Answerer(Protocol):
    """Asks `session` a question, in place of its last one if `again`; ends soon after `stopping` is set."""

    def __call__(
        self, session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events: ...


def answer_in_process(
    session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
) -> Events:
    """The session answers here, with its KV cache."""
    for event in session.edit(question, sampling) if again else session.ask(question, sampling):
        if stopping.is_set():  # asking clears an earlier `ChatSession.stop`
            session.stop()
        yield event


def queued(answer: Answerer, queue: AdmissionQueue) -> Answerer:
    """An answerer that waits in `queue` if the video needs prefill, and reports its position.

    It leaves the queue with the first text: from there on, answers share the model step by step.
    """

    def answer_queued(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        with ExitStack() as admission:
            if session.needs_prefill and session.source is not None:
                ticket = admission.enter_context(queue.enqueue(session.source.num_frames))
                yield from queue.wait(ticket, stopping.is_set)
                if not ticket.admitted.is_set():
                    return
            with closing(answer(session, question, sampling, again, stopping)) as events:
                for event in events:
                    if isinstance(event, TextDelta):
                        admission.close()
                    yield event

    return answer_queued


def make_answerer(engine: Engine, queue: AdmissionQueue) -> Answerer:
    """The answerer for this host. A ZeroGPU Space queues for its GPU itself."""
    if not is_zero_gpu():
        return queued(answer_in_process, queue)
    import spaces  # exists only on a Space

    return make_gpu_answerer(engine, spaces.GPU)


def seconds_needed(request: GpuRequest) -> float:
    """GPU seconds to request for a question."""
    source, _turns, _question, sampling, _stop_file = request
    if source is None:
        return seconds_to_ask_for(0, False, sampling.max_new_tokens)
    return seconds_to_ask_for(source.num_frames, source.has_features, sampling.max_new_tokens)


def make_gpu_answerer(engine: Engine, lend: Callable[..., Any]) -> Answerer:
    """An answerer whose questions run wherever `lend` (`spaces.GPU`) runs the generator function that it decorates."""

    def answer_there(request: GpuRequest) -> Iterator[Progress | TextDelta | Turn | tuple[str, str]]:
        source, turns, question, sampling, stop_file = request
        session = ChatSession(engine)
        session.resume(source, turns)
        try:
            for event in session.ask(question, sampling):
                if Path(stop_file).exists():
                    session.stop()
                yield event
        except DemoError as error:
            yield error.message, error.remedy
            return
        if len(session.turns) > len(turns):
            yield session.turns[-1]

    lent = lend(duration=seconds_needed)(answer_there)

    def answer_on_gpu(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        source, turns = session.source, session.turns[: len(session.turns) - again]
        if source is not None:
            # Decoding needs no GPU, so finish it before borrowing one.
            for _ in source.ensure_decoded(stopping.is_set):
                yield Progress(Stage.SAMPLING, len(source.frame_refs), source.num_frames)
            if stopping.is_set():
                return
        with tempfile.TemporaryDirectory(dir=own_folder()) as folder, errors_of_zero_gpu():
            stop_file = Path(folder) / "stop"
            for event in lent((source, turns, question, sampling, str(stop_file))):
                if stopping.is_set():
                    stop_file.touch()
                if isinstance(event, Turn):
                    session.resume(source, [*turns, event])
                elif isinstance(event, tuple):
                    raise DemoError(*event)
                else:
                    yield event

    return answer_on_gpu
