"""What is sent to a replica, what it may forget, and what happens if it fails."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

from longva_demo.chat import (
    CacheStatus,
    ChatSession,
    ImageSource,
    PicturesSource,
    Progress,
    Sampling,
    Stage,
    TextDelta,
    VideoSource,
)
from longva_demo.chat.remote import RemoteEngine, prefix
from longva_demo.errors import DemoError
from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from longva_demo.video import plan_frames, probe
from tests.remote.test_contract import SCHEMA
from tests.support.fake_replica import Replica

CLIP = EXAMPLES_FOLDER / "needle.mp4"
QUESTION, LONG = "Which digit is shown?", "Describe everything that you see, one after another."
SAMPLING = Sampling(max_new_tokens=64)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(prefix, "MAX_WAIT", 0.02)


@pytest.fixture
def session(remote: RemoteEngine, replica: Replica) -> Iterator[ChatSession]:  # noqa: ARG001
    remote._prompts.clear()
    with closing(open_chat(remote)) as session:
        yield session


def open_chat(engine: RemoteEngine, num_frames: int = 100, clip: Path = CLIP) -> ChatSession:
    session, info = ChatSession(engine), probe(clip)
    session.set_source(VideoSource(info, plan_frames(info, num_frames), engine.processor))
    return session


def ask(session: ChatSession, question: str = QUESTION) -> str:
    return "".join(event.text for event in session.ask(question, SAMPLING) if isinstance(event, TextDelta))


def test_the_progress_of_pictures_counts_their_grids(remote: RemoteEngine, replica: Replica) -> None:  # noqa: ARG001
    remote._prompts.clear()
    images = [ImageSource(EXAMPLES_FOLDER / name, remote.processor) for name in ["picture.png"] * 4 + ["wide.png"]]
    with closing(ChatSession(remote)) as session:
        session.set_source(PicturesSource(images))
        events = list(session.ask(QUESTION, SAMPLING))
    grids = [image.num_frames for image in images]
    assert [event.done for event in events if isinstance(event, Progress)] == [sum(grids[:4]), sum(grids)]


def pixels_sent(request: dict[str, object]) -> list[bool]:
    """Of each item, whether its pixels were sent, or its uuid alone."""
    parts = request["content_parts"]
    assert isinstance(parts, list)
    return [part["url"] is not None for part in parts]


def retries(engine: RemoteEngine) -> float:
    [figure] = [figure for figure in engine.figures() if figure.name == "engine_retries"]
    return sum(figure.values.values())


def test_frames_are_sent_once_in_steps(session: ChatSession, replica: Replica) -> None:
    events = list(session.ask(QUESTION, SAMPLING))
    progress = [event for event in events if isinstance(event, Progress) and event.stage == Stage.PREFILL]
    assert [(event.done, event.total) for event in progress] == [(64, 100), (100, 100)]
    assert [pixels_sent(request) for request in replica.requests] == [
        [True] * 4,
        [False] * 4 + [True] * 3,
        [False] * 7,
    ]
    assert len({*replica.sessions}) == 1
    assert session.turns[-1].stats.cache is CacheStatus.MISS
    replica.requests.clear()
    ask(session)
    assert [pixels_sent(request) for request in replica.requests] == [[False] * 7]
    stats = session.turns[-1].stats
    assert (stats.cache, stats.was_evicted, stats.seconds_to_prefill) == (CacheStatus.HIT, False, 0.0)


def test_another_chat_about_the_same_frames_sends_none(
    session: ChatSession, remote: RemoteEngine, replica: Replica
) -> None:
    ask(session)
    replica.requests.clear()
    with closing(open_chat(remote)) as other:
        assert not other.needs_prefill
        ask(other)
        assert [pixels_sent(request) for request in replica.requests] == [[False] * 7]
        assert other.turns[-1].stats.cache is CacheStatus.HIT
        assert len(other.frames) == 100
    assert len({*replica.sessions}) == 1


def test_an_unshared_chat_is_kept_apart(session: ChatSession, remote: RemoteEngine, replica: Replica) -> None:
    ask(session)
    own, info = ChatSession(remote, is_shared=False), probe(CLIP)
    own.set_source(VideoSource(info, plan_frames(info, 100), remote.processor))
    replica.requests.clear()
    with closing(own):
        ask(own)
        assert replica.requests[0]["cache_salt"]
        assert own.turns[-1].stats.cache is CacheStatus.MISS
    assert [key for key in remote._prompts if key == own.prefix._key] == []


@pytest.mark.parametrize(
    "faults",
    [["500"], ["busy", "busy"], ["break"], ["cut"], ["forget"], ["break", "forget", "500"], ["break", "break"]],
    ids="-".join,
)
def test_no_token_is_lost_or_doubled(session: ChatSession, replica: Replica, faults: list[str]) -> None:
    """As a replica that is killed, restarted or full, before and during an answer."""
    first, second = ask(session), ask(session, LONG)
    ids = [turn.ids for turn in session.turns]
    assert len(ids[1]) > 8
    session.clear()
    ask(session)
    replica.faults = list(faults)
    assert ask(session, LONG) == second
    assert replica.faults == []
    assert [turn.ids for turn in session.turns] == ids
    assert session.turns[0].answer == first
    assert session.turns[1].stats.cache is (CacheStatus.MISS if "forget" in faults else CacheStatus.HIT)


@pytest.mark.parametrize("faults", [[], ["break"], ["break", "500", "cut"]], ids="-".join)
def test_an_answer_of_a_schema(session: ChatSession, replica: Replica, faults: list[str]) -> None:
    """Another replica chooses the same tokens again, since it counts from the first."""
    sampling = Sampling(max_new_tokens=64, json_schema=SCHEMA)
    ask(session)
    replica.faults = list(faults)
    events = list(session.ask(LONG, sampling))
    answer = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert replica.faults == []
    jsonschema.validate(json.loads(answer), json.loads(SCHEMA))
    assert answer == session.turns[1].answer
    replica.faults = []
    assert list(session.retry(sampling))
    assert answer == session.turns[1].answer


def test_a_schema_that_the_engine_refuses(session: ChatSession) -> None:
    sampling = Sampling(max_new_tokens=64, json_schema='{"type": 7}')
    with pytest.raises(
        DemoError, match=r"the engine does not support the JSON schema \(Grammar error: .*; use a simpler"
    ):
        list(session.ask(QUESTION, sampling))
    assert ask(session)


@pytest.mark.parametrize("fault", ["500", "busy", "break", "forget"])
def test_faults_while_frames_are_prefilled(session: ChatSession, replica: Replica, fault: str) -> None:
    expected = ask(session)
    session.engine._prompts.clear()
    replica.forget()
    replica.requests.clear()
    text, faults = "", [fault]
    for event in session.ask(QUESTION, SAMPLING):
        if isinstance(event, Progress) and event.stage == Stage.PREFILL and event.done == 64 and faults:
            replica.faults = [faults.pop()]
        text += event.text if isinstance(event, TextDelta) else ""
    assert text == expected
    assert replica.faults == []


def test_a_forgotten_video_is_sent_again_in_steps(session: ChatSession, replica: Replica) -> None:
    ask(session)
    replica.forget()
    replica.requests.clear()
    events = list(session.ask(QUESTION, SAMPLING))
    assert [pixels_sent(request) for request in replica.requests] == [
        [False] * 7,
        [True] * 4,
        [False] * 4 + [True] * 3,
        [False] * 7,
    ]
    assert [event.done for event in events if isinstance(event, Progress) and event.stage == Stage.PREFILL] == [64, 100]
    stats = session.turns[-1].stats
    assert (stats.cache, stats.was_evicted) == (CacheStatus.MISS, True)
    assert stats.seconds_to_prefill > 0


def test_an_evicted_prefix_is_noticed(session: ChatSession, replica: Replica) -> None:
    """The replica has the items still, but not their KV cache."""
    ask(session)
    replica._prefixes.clear()
    ask(session)
    assert session.turns[-1].stats.was_evicted


@pytest.mark.parametrize(
    ("fault", "message"), [("500", "the engine does not answer"), ("busy", "the engine is busy: its queue is full")]
)
def test_after_the_last_try_there_is_one_line(
    session: ChatSession, replica: Replica, remote: RemoteEngine, fault: str, message: str
) -> None:
    ask(session)
    before = retries(remote)
    replica.faults = [fault] * prefix.MAX_TRIES
    with pytest.raises(DemoError, match=message):
        ask(session)
    assert retries(remote) - before == prefix.MAX_TRIES
    assert len(session.turns) == 1
    ask(session)
    assert session.turns[-1].ids[: len(session.turns[0].question_ids)] != ()


def test_stop_ends_the_waiting(session: ChatSession, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(session)
    monkeypatch.setattr(prefix, "FIRST_WAIT", 60.0)
    monkeypatch.setattr(prefix, "MAX_WAIT", 60.0)
    replica.faults = ["500"]
    threading.Timer(0.3, session.stop).start()
    started = time.perf_counter()
    ask(session)
    assert time.perf_counter() - started < 5
    assert len(session.turns) == 1


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_stopped_answer_frees_the_replica(session: ChatSession, replica: Replica, how: str) -> None:
    """Within a second, also if the replica is silent."""
    ask(session)
    replica.token_seconds = 0.2
    events = session.ask(LONG, SAMPLING)
    while not isinstance(next(events), TextDelta):
        pass
    assert replica.num_running == 1
    if how == "stop":
        session.stop()
        assert next(events, None) is None
    events.close()
    stopped = time.perf_counter()
    while replica.num_running:
        assert time.perf_counter() - stopped < 1
        time.sleep(0.01)
    replica.token_seconds = 0.0
    assert 1 <= session.turns[-1].stats.num_new_tokens < 5
    assert ask(session)


def test_a_stopped_prefill_is_not_kept(session: ChatSession, replica: Replica) -> None:
    for event in session.ask(QUESTION, SAMPLING):
        if isinstance(event, Progress) and event.stage == Stage.PREFILL:
            session.stop()
    assert len(replica.requests) == 1
    assert session.turns == []
    assert session.needs_prefill
    assert ask(session)


def test_stored_frames_that_were_deleted_are_decoded_again(session: ChatSession, replica: Replica) -> None:
    expected = ask(session)
    source = session.source
    assert isinstance(source, VideoSource)
    source.frame_store.file.unlink()
    replica.forget()
    assert ask(session)
    session.clear()
    assert ask(session) == expected


def test_a_smaller_context_there_is_said(session: ChatSession, replica: Replica) -> None:
    """The replica was restarted with a smaller --max-model-len."""
    ask(session)
    replica.context_length = 500
    try:
        with pytest.raises(DemoError, match="the engine's context is full"):
            ask(session)
    finally:
        replica.context_length = replica.engine.model.context_length


def test_a_replica_of_another_model_is_said(session: ChatSession, replica: Replica) -> None:
    ask(session)
    replica.name = "another"
    try:
        with pytest.raises(DemoError, match="a replica of the engine serves another model"):
            ask(session)
    finally:
        replica.name = "tiny"
