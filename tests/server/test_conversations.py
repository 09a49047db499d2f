"""Sessions of clients that send the whole conversation each time: kept, continued, and closed."""

import dataclasses
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from longva_demo.chat import AdmissionQueue, CacheStatus, LocalEngine, Sampling, TextDelta
from longva_demo.chat.answering import answer_in_process
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.quotas import CLIENT, QuotaError, Quotas
from longva_demo.server import conversations as module
from longva_demo.server.conversations import MAX_PER_CLIENT, Answered, Conversations, Question, Stopping
from longva_demo.server.rate_limit import RateLimit
from longva_demo.server.searches import Searches
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics

WHAT, WHY = "What shape is in the video?", "What colour is it?"


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny", device="cpu"), Settings(log="nothing"))


@pytest.fixture(autouse=True)
def client() -> Iterator[None]:
    token = CLIENT.set("10.0.0.1")
    yield
    CLIENT.reset(token)


@pytest.fixture
def conversations(engine: LocalEngine) -> Iterator[Conversations]:
    made = make(engine, engine.settings)
    yield made
    while made.idle.close_oldest_of("10.0.0.1"):
        pass


def make(engine: LocalEngine, settings: Settings) -> Conversations:
    quotas = Quotas(settings)
    events = EventLog(settings, Metrics(lambda: 0, lambda: 0, engine.figures, quotas))
    searches = Searches(engine, AdmissionQueue(engine.prefill_times), RateLimit(100, "questions"), events)
    return Conversations(engine, settings, answer_in_process, searches.find, events, quotas)


def ask(conversations: Conversations, question: Question) -> Answered:
    *texts, answered = conversations.answer(question, Stopping(), "test")
    assert isinstance(answered, Answered)
    assert "".join(event.text for event in texts if isinstance(event, TextDelta)) == answered.turn.answer
    return answered


def about(clip: Path, num_frames: int = 8, *turns: tuple[str, str], text: str = WHAT) -> Question:
    sha256 = hashlib.sha256(clip.read_bytes()).hexdigest()
    return Question(text, Selection(clip, num_frames), sha256, turns=turns, sampling=Sampling(max_new_tokens=32))


def test_the_next_turn_costs_its_own_tokens(conversations: Conversations, clip: Path) -> None:
    first = ask(conversations, about(clip))
    assert (first.turn.stats.cache, first.num_cached) == (CacheStatus.MISS, 0)
    second = ask(conversations, about(clip, 8, (WHAT, first.turn.answer), text=WHY))
    assert second.turn.stats.cache == CacheStatus.HIT
    assert second.num_cached == second.turn.stats.num_tokens - len(second.turn.question_ids) - 1
    again = ask(conversations, about(clip, 8, (WHAT, first.turn.answer), text=WHY))
    assert (again.turn.answer, again.num_cached) == (second.turn.answer, second.num_cached)
    assert len(conversations.idle) == 1


def test_the_answer_is_that_of_one_session(conversations: Conversations, clip: Path) -> None:
    """Also if the client's words of the history are tokenised again."""
    first = ask(conversations, about(clip))
    second = ask(conversations, about(clip, 8, (WHAT, first.turn.answer), text=WHY))
    while conversations.idle.close_oldest_of("10.0.0.1"):
        pass
    resumed = ask(conversations, about(clip, 8, (WHAT, first.turn.answer), text=WHY))
    assert resumed.turn.answer == second.turn.answer
    assert resumed.turn.stats.num_tokens == second.turn.stats.num_tokens


def test_another_history_replaces_that_of_the_session(conversations: Conversations, clip: Path) -> None:
    first = ask(conversations, about(clip))
    other = ask(conversations, about(clip, 8, (WHAT, f"{first.turn.answer} It is large."), text=WHY))
    assert other.turn.stats.cache == CacheStatus.HIT  # the frames
    assert 0 < other.num_cached < first.turn.stats.num_tokens


def test_an_answer_that_fails_keeps_the_session(conversations: Conversations, clip: Path) -> None:
    first = ask(conversations, about(clip))
    with pytest.raises(DemoError, match="the question is empty"):
        ask(conversations, about(clip, 8, (WHAT, first.turn.answer), text=" "))
    assert ask(conversations, about(clip, 8, (WHAT, first.turn.answer), text=WHY)).turn.stats.cache == CacheStatus.HIT


def test_a_client_that_leaves_keeps_the_session(conversations: Conversations, clip: Path) -> None:
    stopping = Stopping()
    events = conversations.answer(about(clip), stopping, "test")
    next(events)
    stopping.set()
    assert not [event for event in events if isinstance(event, Answered)]
    assert len(conversations.idle) == 1
    events = conversations.answer(about(clip), Stopping(), "test")
    next(events)
    events.close()
    assert len(conversations.idle) == 1
    assert ask(conversations, about(clip)).turn.answer


def test_stopping_ends_with_the_answer(conversations: Conversations, clip: Path) -> None:
    """A late stop must not end what another request does with the session."""
    stopping = Stopping()
    assert isinstance(list(conversations.answer(about(clip), stopping, "test"))[-1], Answered)
    events = conversations.answer(about(clip, 8, text=WHY), Stopping(), "test")
    started = next(events)
    stopping.set()
    assert isinstance([started, *events][-1], Answered)


def test_each_client_keeps_a_few(conversations: Conversations, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for num_frames in range(1, MAX_PER_CLIENT + 3):
        ask(conversations, about(clip, num_frames))
    assert len(conversations.idle) == MAX_PER_CLIENT
    CLIENT.set("10.0.0.2")
    assert ask(conversations, about(clip, 6)).turn.stats.cache == CacheStatus.HIT  # prefixes are shared
    assert len(conversations.idle) == MAX_PER_CLIENT + 1
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    conversations.idle.close_old()
    assert len(conversations.idle) == 0


def test_quotas_are_held_and_given_back(engine: LocalEngine, clip: Path) -> None:
    """What a client's idle sessions hold does not keep it from asking about something else."""
    frame = 3 * engine.processor.image_processor.side**2
    settings = dataclasses.replace(engine.settings, max_storage_bytes=2 * 10 * frame, address_share=1.0)
    conversations = make(engine, settings)
    quota = conversations._quotas.disk_bytes
    ask(conversations, about(clip, 8))
    assert quota.used == 8 * frame
    ask(conversations, about(clip, 5))  # 13 would not fit
    assert quota.used == 5 * frame
    with pytest.raises(QuotaError, match="frames and previews on the disk"):
        ask(conversations, about(clip, 11))
    assert conversations._quotas.api_questions.used == 0
    assert quota.used == 0


def test_each_picture_counts_as_soon_as_it_is_opened(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of many large pictures must not take their memory before it is refused."""
    selections = []
    for shade in (50, 100, 150):
        path = tmp_path / f"{shade}.png"
        Image.new("RGB", (64, 64), (shade, 0, 0)).save(path)
        selections.append(Selection(path, 1))
    picture = selections[0].open_source(engine, engine.settings).memory_bytes
    opened: list[Selection] = []
    open_source = Selection.open_source
    monkeypatch.setattr(
        Selection, "open_source", lambda self, *rest: [opened.append(self), open_source(self, *rest)][1]
    )
    settings = dataclasses.replace(engine.settings, max_client_memory_bytes=2 * picture + 2, address_share=1.0)
    conversations = make(engine, settings)
    question = Question(WHAT, selections[0], "a,b,c", tuple(selections[1:]))
    with pytest.raises(QuotaError, match="frames and pictures in open pages"):
        ask(conversations, question)
    assert opened == selections[:2]
    gc.collect()
    assert conversations._quotas.page_bytes.used == 0
    conversations = make(engine, dataclasses.replace(settings, max_client_memory_bytes=6 * picture))
    assert ask(conversations, question).turn.answer
    assert conversations._quotas.page_bytes.used == 3 * picture
