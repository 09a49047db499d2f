"""Questions that are answered in another process, as on a ZeroGPU Space: only pickled values cross, no cache stays."""

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from longva_demo.chat import ChatSession, Engine, Sampling, TextDelta, VideoSource
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.ui.asking import Asked, make_gpu_asker, seconds_needed
from longva_demo.video import plan_frames, probe
from tests.ui.conftest import MODEL

SAMPLING = Sampling(max_new_tokens=24)


def lend(duration: Callable[..., float]) -> Callable[..., Any]:
    """As `spaces.GPU` does: arguments and results cross as pickles."""

    def decorate(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def crossing(asked: Asked) -> Iterator[Any]:
            assert 0 < duration(asked) <= 120
            for event in function(pickle.loads(pickle.dumps(asked))):
                yield pickle.loads(pickle.dumps(event))

        return crossing

    return decorate


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load(MODEL), Settings(), keep_features=True)


def look(engine: Engine, clip: Path, num_frames: int = 8) -> ChatSession:
    session = ChatSession(engine)
    info = probe(clip)
    session.look_at(VideoSource(info, plan_frames(info, num_frames), engine.processor))
    return session


def test_a_conversation_across_processes_is_the_same(engine: Engine, clip: Path) -> None:
    questions = ("What colour is the circle?", "Which way does it move?", "What colour is the background?")
    here, there = look(engine, clip), look(engine, clip)
    ask = make_gpu_asker(engine, lend)
    for question in questions:
        list(here.ask(question, SAMPLING))
        events = list(ask(there, question, SAMPLING, False, threading.Event()))
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == here.turns[-1].answer
    assert [turn.answer for turn in there.turns] == [turn.answer for turn in here.turns]
    list(ask(there, questions[0], SAMPLING, True, threading.Event()))
    assert [turn.question for turn in there.turns] == [questions[0], questions[1], questions[0]]


def test_the_second_question_keeps_features_and_asks_for_less(engine: Engine, clip: Path) -> None:
    session = look(engine, clip)
    asked: Asked = (session.source, [], "?", SAMPLING, "")
    before = seconds_needed(asked)
    list(make_gpu_asker(engine, lend)(session, "What is there?", SAMPLING, False, threading.Event()))
    assert isinstance(session.source, VideoSource)
    assert session.source.has_features
    assert seconds_needed(asked) < before


def test_an_error_crosses_as_its_line(engine: Engine, clip: Path) -> None:
    session = look(engine, clip)
    with pytest.raises(DemoError, match="the question is empty; "):
        list(make_gpu_asker(engine, lend)(session, " ", SAMPLING, False, threading.Event()))


def test_stop_crosses(engine: Engine, clip: Path) -> None:
    session = look(engine, clip)
    stopping = threading.Event()
    events = make_gpu_asker(engine, lend)(session, "What is there?", SAMPLING, False, stopping)
    num_words = 0
    for event in events:
        num_words += isinstance(event, TextDelta)
        stopping.set()
    assert num_words <= 2
