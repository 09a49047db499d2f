"""Who answers a question: a session in this process or, on a ZeroGPU Space, one in a process that borrows a GPU.

No KV cache survives a borrowing (borrowed_gpu.py), so the features are stored on disk there: a second question need not
encode the video again.
"""

import threading
from collections.abc import Generator
from contextlib import ExitStack, closing
from typing import Protocol

from longva_demo.chat.engine import Engine
from longva_demo.chat.queue import AdmissionQueue
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.turn import Progress, TextDelta
from longva_demo.chat.zero_gpu import is_zero_gpu

Events = Generator[Progress | TextDelta]
# Most of these wait in the queue, where the page shows their position.
MAX_CONCURRENT_QUESTIONS = 128


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
    if not (is_zero_gpu() and engine.model.is_here):
        return queued(answer_in_process, queue)
    import spaces  # exists only on a Space

    from longva_demo.chat.borrowed_gpu import make_gpu_answerer

    return make_gpu_answerer(engine, spaces.GPU)
