"""Who answers: the session in this process, or, on a ZeroGPU Space, one in the process that was lent a GPU.

There, a GPU is lent for seconds to a process that keeps nothing. The page, the kept frames and the conversation stay
here; a question goes over with its source (which names its kept files) and the earlier turns, and events come back. No
KV cache survives, so the frames' features are kept on disk: a second question need not encode the video again.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

from longva_demo.chat import (
    AdmissionQueue,
    ChatSession,
    Engine,
    Progress,
    Sampling,
    Source,
    TextDelta,
    Turn,
    VideoSource,
)
from longva_demo.chat.turn import Stage
from longva_demo.errors import DemoError
from longva_demo.folders import own_folder

Events = Generator[Progress | TextDelta]
Asked = tuple[Source | None, list[Turn], str, Sampling, str]

# Those who ask at once; most of them stand in the waiting line, and are to see where.
MAX_CONCURRENT_QUESTIONS = 64
# Seconds of GPU to ask for: to start, per frame to encode or only to read again, per new token; and the most.
START, PER_NEW_FRAME, PER_KEPT_FRAME, PER_TOKEN, MOST = 15.0, 0.08, 0.03, 0.05, 120.0


class Answerer(Protocol):
    """Asks `session` a question, in place of its last one if `again`; ends soon after `stopping` is set."""

    def __call__(
        self, session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events: ...


def answer_in_process(
    session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
) -> Events:
    """The session answers by itself, with its kept cache; `ChatSession.stop` stops it."""
    for event in session.edit(question, sampling) if again else session.ask(question, sampling):
        if stopping.is_set():  # it may have been set before the session began to listen
            session.stop()
        yield event


def queued(ask: Answerer, queue: AdmissionQueue) -> Answerer:
    """An answerer that waits in `line` where a video has to be read, and says where it stands.

    The place is given up with the answer's first words: what follows takes turns at the model step by step.
    """

    def ask_queued(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        with ExitStack() as standing:
            if session.needs_prefill and session.source is not None:
                place = standing.enter_context(queue.join(session.source.num_frames))
                yield from queue.wait(place, stopping.is_set)
                if not place.called.is_set():
                    return
            with closing(ask(session, question, sampling, again, stopping)) as events:
                for event in events:
                    if isinstance(event, TextDelta):
                        standing.close()
                    yield event

    return ask_queued


def is_zero_gpu() -> bool:
    """Whether this process runs on a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def make_answerer(engine: Engine, queue: AdmissionQueue) -> Answerer:
    """The answerer for this host. On a Space with ZeroGPU, the Space's own line is for the GPU."""
    if not is_zero_gpu():
        return queued(answer_in_process, queue)
    import spaces  # only there on a Space

    return make_gpu_answerer(engine, spaces.GPU)


def seconds_needed(asked: Asked) -> float:
    """GPU seconds to ask for; they come out of the visitor's quota, so no more than the budget needs."""
    source, _turns, _question, sampling, _stop_file = asked
    num_frames = source.num_frames if source is not None else 0
    is_kept = isinstance(source, VideoSource) and source.has_features
    per_frame = PER_KEPT_FRAME if is_kept else PER_NEW_FRAME
    return min(MOST, START + per_frame * num_frames + PER_TOKEN * sampling.max_new_tokens)


def make_gpu_answerer(engine: Engine, lend: Callable[..., Any]) -> Answerer:
    """An answerer whose questions run where `lend` (`spaces.GPU`) runs the generator function that it is given."""

    def answer_there(asked: Asked) -> Iterator[Progress | TextDelta | Turn | tuple[str, str]]:
        source, turns, question, sampling, stop_file = asked
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

    def ask_there(
        session: ChatSession, question: str, sampling: Sampling, again: bool, stopping: threading.Event
    ) -> Events:
        source, turns = session.source, session.turns[: len(session.turns) - again]
        if isinstance(source, VideoSource):
            # Decoding needs no GPU: wait for its end before one is lent.
            for _ in source.pixels(16, stopping.is_set):
                yield Progress(Stage.SAMPLING, len(source.indices), source.num_frames)
            if stopping.is_set():
                return
        with tempfile.TemporaryDirectory(dir=own_folder()) as folder:
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

    return ask_there
