"""Attribution on an engine elsewhere: the frame with which an answer became likely."""

import doctest
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, Sampling, VideoSource
from longva_demo.chat.record import Exchange
from longva_demo.chat.remote import RemoteEngine, prefix
from longva_demo.page.attribution import answer_attribution
from longva_demo.server.conversations import Answered
from longva_demo.server.mcp.videos import answer_text
from longva_demo.server.openai.facts import attribution_facts
from longva_demo.video import plan_frames, probe
from tests.support.fake_replica import Replica
from tests.support.needle_clips import clips, write_scenes

NUM_FRAMES = 40  # two items and a half


@pytest.fixture(scope="module")
def needles(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str, str, set[int]]]:
    """Clips with a digit in one or two frames: file, question, answer, and these frames."""
    folder, found = tmp_path_factory.mktemp("needles"), []
    for number, (scenes, asked, frames) in enumerate(clips(NUM_FRAMES, 4)):
        write_scenes(folder / f"{number}.mp4", scenes)
        found.append((folder / f"{number}.mp4", asked.question, asked.answer, frames))
    return found


def ask(engine: RemoteEngine, clip: Path, question: str) -> ChatSession:
    session, info = ChatSession(engine), probe(clip)
    session.set_source(VideoSource(info, plan_frames(info, NUM_FRAMES), engine.processor))
    list(session.ask(question, Sampling(max_new_tokens=32)))
    return session


@pytest.fixture
def session(
    remote: RemoteEngine, replica: Replica, needles: list[tuple[Path, str, str, set[int]]]
) -> Iterator[ChatSession]:
    assert not replica.faults
    with closing(ask(remote, *needles[0][:2])) as session:
        yield session


@pytest.mark.usefixtures("replica")
def test_it_is_the_frame_that_shows_it(remote: RemoteEngine, needles: list[tuple[Path, str, str, set[int]]]) -> None:
    num_right = 0
    for clip, question, answer, frames in needles:
        with closing(ask(remote, clip, question)) as session:
            turn = session.attribute_last_answer()
            assert turn is not None
            assert turn.attribution is not None
            assert turn.attribution.is_first_seen
            if turn.answer == answer:
                num_right += 1
                assert set(turn.attribution.used_frames) <= frames, clip
                assert len(turn.attribution.used_frames) == 1
    assert num_right >= 3


def test_what_is_said_about_it(session: ChatSession) -> None:
    turn = session.turns[-1]
    before = answer_attribution(turn, session.source)
    assert before is not None
    assert (before.heat, before.used_frames) == (None, None)
    turn = session.attribute_last_answer() or turn
    shown = answer_attribution(turn, session.source)
    assert shown is not None
    assert shown.to_page(with_heat=True)["first_seen"] is True
    [frame] = shown.used_frames or ()
    assert frame.factor > 2
    time = f"0:{frame.seconds:04.1f}"
    answered = Answered(turn, session.frames, [], 0)
    assert f"[The answer was first seen at {time}.]" in answer_text(answered)
    facts = attribution_facts(answered)
    assert facts is not None
    [seen] = facts["first_seen"]
    assert (seen["seconds"], seen["log_prob_rise"] > 1) == (frame.seconds, True)
    saved = Exchange.of(turn, session.frames)
    assert (saved.attribution, saved.attribution_note) == ((), f"The answer was first seen at {time}.")


def test_stop_ends_it(session: ChatSession, replica: Replica) -> None:
    replica.token_seconds = 0.05
    threading.Timer(0.5, session.stop).start()
    assert session.attribute_last_answer() is None
    replica.token_seconds = 0.0
    assert session.attribute_last_answer() is not None


@pytest.mark.parametrize("fault", ["500", "forget", "cut"])
def test_a_fault_ends_it(session: ChatSession, replica: Replica, fault: str) -> None:
    """Nobody waits for it: it is not tried again."""
    replica.requests.clear()
    replica.faults = [fault]
    assert session.attribute_last_answer() is None
    assert len(replica.requests) <= 2
    assert list(session.ask("What do you see?", Sampling(max_new_tokens=8)))


def test_a_later_question(session: ChatSession) -> None:
    question = session.turns[-1].question
    list(session.ask(question, Sampling(max_new_tokens=32)))
    turn = session.attribute_last_answer()
    assert turn is session.turns[1]


def test_the_example_in_the_docstring() -> None:
    result = doctest.testmod(prefix)
    assert (result.attempted > 0, result.failed) == (True, 0)
