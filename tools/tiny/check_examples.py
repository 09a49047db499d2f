"""Find the gallery questions that the bundled model answers correctly, asked as on the page."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from longva_demo.chat import ChatSession, ImageSource, LocalEngine, Sampling, VideoSource
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import is_picture, plan_frames, probe


@lru_cache(maxsize=1)
def tiny_engine() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings())


def gallery_session(path: Path, num_frames: int) -> ChatSession:
    """A chat with the bundled model about a file of the gallery."""
    session = ChatSession(tiny_engine())
    processor = tiny_engine().loaded.processor
    if is_picture(path):
        session.set_source(ImageSource(path, processor))
    else:
        info = probe(path)
        session.set_source(VideoSource(info, plan_frames(info, num_frames), processor))
    return session


def greedy_answer(session: ChatSession, question: str) -> str:
    for _ in session.ask(question, Sampling(temperature=0.0)):
        pass
    return session.turns[-1].answer


def right_answers(path: Path, num_frames: int, asked: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether each (question, answer) is correct both when asked alone and after all questions before it."""
    session = gallery_session(path, num_frames)
    right = [True] * len(asked)
    for index, (question, truth) in enumerate(asked):
        session.clear()
        right[index] &= greedy_answer(session, question) == truth
    session.clear()
    for index, (question, truth) in enumerate(asked):
        right[index] &= greedy_answer(session, question) == truth
    session.close()
    return right
