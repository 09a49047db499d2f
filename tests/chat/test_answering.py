"""Questions answered in another process, as on a ZeroGPU Space, and questions that wait in the queue."""

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from longva_demo.chat import AdmissionQueue, ChatSession, LocalEngine, Progress, Sampling, Stage, TextDelta, VideoSource
from longva_demo.chat.answering import answer_in_process, queued
from longva_demo.chat.borrowed_gpu import GpuQuestion, GpuRequest, make_gpu_answerer, seconds_needed
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe

SAMPLING = Sampling(max_new_tokens=24)


def lend(duration: Callable[..., float]) -> Callable[..., Any]:
    """Like `spaces.GPU`: arguments and results are pickled."""

    def decorate(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def in_other_process(request: GpuRequest) -> Iterator[Any]:
            assert 0 < duration(request) <= 120
            for event in function(pickle.loads(pickle.dumps(request))):
                yield pickle.loads(pickle.dumps(event))

        return in_other_process

    return decorate


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings(), keep_features=True)


def open_chat(engine: LocalEngine, clip: Path, num_frames: int = 8) -> ChatSession:
    session = ChatSession(engine)
    info = probe(clip)
    session.set_source(VideoSource(info, plan_frames(info, num_frames), engine.processor))
    return session


def test_a_conversation_across_processes_is_the_same(engine: LocalEngine, clip: Path) -> None:
    questions = ("What colour is the circle?", "Which way does it move?", "What colour is the background?")
    here, there = open_chat(engine, clip), open_chat(engine, clip)
    ask = make_gpu_answerer(engine, lend)
    for question in questions:
        list(here.ask(question, SAMPLING))
        events = list(ask(there, question, SAMPLING, False, threading.Event()))
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == here.turns[-1].answer
    assert [turn.answer for turn in there.turns] == [turn.answer for turn in here.turns]
    list(ask(there, questions[0], SAMPLING, True, threading.Event()))
    assert [turn.question for turn in there.turns] == [questions[0], questions[1], questions[0]]


def test_the_second_question_reuses_features_and_requests_less_time(engine: LocalEngine, clip: Path) -> None:
    session = open_chat(engine, clip)
    request: GpuRequest = ([GpuQuestion(session.source, [], "?", SAMPLING)], "")
    before = seconds_needed(request)
    list(make_gpu_answerer(engine, lend)(session, "What is there?", SAMPLING, False, threading.Event()))
    assert session.source is not None
    assert session.source.has_features
    assert seconds_needed(request) < before


def test_an_error_in_the_other_process_is_raised_here(engine: LocalEngine, clip: Path) -> None:
    session = open_chat(engine, clip)
    with pytest.raises(DemoError, match="the question is empty; "):
        list(make_gpu_answerer(engine, lend)(session, " ", SAMPLING, False, threading.Event()))


def test_stop_reaches_the_other_process(engine: LocalEngine, clip: Path) -> None:
    session = open_chat(engine, clip)
    stopping = threading.Event()
    events = make_gpu_answerer(engine, lend)(session, "What is there?", SAMPLING, False, stopping)
    num_words = 0
    for event in events:
        num_words += isinstance(event, TextDelta)
        stopping.set()
    assert num_words <= 2


def test_prefills_queue_and_follow_ups_do_not(engine: LocalEngine, clip: Path) -> None:
    queue = AdmissionQueue(engine.prefill_times, max_admitted=lambda: 1)
    ask = queued(answer_in_process, queue)
    first, second = open_chat(engine, clip), open_chat(engine, clip, 4)
    never = threading.Event()
    running = ask(first, "What colour is the circle?", SAMPLING, False, never)
    assert isinstance(next(running), Progress)
    waiting = ask(second, "What colour is the circle?", SAMPLING, False, never)
    assert next(waiting) == Progress(Stage.QUEUED, 1, 1, engine.prefill_times.estimate(8))
    while not isinstance(next(running), TextDelta):
        assert next(waiting).stage == Stage.QUEUED
    while isinstance(event := next(waiting), Progress) and event.stage == Stage.QUEUED:
        pass
    follow_up = ask(first, "Which way does it move?", SAMPLING, False, never)
    list(running)
    assert isinstance(next(follow_up), TextDelta)  # though the other still prefills
    assert list(waiting)
    assert len(first.turns) == len(second.turns) == 1
    list(follow_up)
    assert len(first.turns) == 2


def test_stopping_or_closing_leaves_the_queue(engine: LocalEngine, clip: Path) -> None:
    queue = AdmissionQueue(engine.prefill_times, max_admitted=lambda: 1)
    ask = queued(answer_in_process, queue)
    first, second, third = (open_chat(engine, clip) for _ in range(3))
    running = ask(first, "What colour is it?", SAMPLING, False, threading.Event())
    next(running)
    stopping = threading.Event()
    stopped = ask(second, "What colour is it?", SAMPLING, False, stopping)
    left = ask(third, "What colour is it?", SAMPLING, False, threading.Event())
    next(stopped), next(left)
    assert len(queue) == 2
    stopping.set()
    assert list(stopped) == []
    left.close()
    assert len(queue) == 0
    assert second.turns == third.turns == []
    running.close()
    with queue.enqueue(8) as ticket:
        assert ticket.admitted.is_set()
