"""The prefix cache: kept for chats that return, shared by chats about the same frames, evicted, offloaded."""

import gc
import threading
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, LocalEngine, Progress, TextDelta
from longva_demo.chat.budget import BudgetMeter
from longva_demo.chat.prefix_cache import HOST, MAX_PER_CHAT, CachedPrefix, PrefixCache
from longva_demo.errors import BudgetError
from longva_demo.page.facts import stats_messages
from tests.chat.conftest import GREEDY, answer, make_source, progress_of
from tests.chat.test_session import counted


class Chat:
    """A stand-in: the cache only needs its identity."""


@pytest.fixture(autouse=True)
def _empty(engine: LocalEngine) -> None:
    while engine.prefix_cache.evict_oldest():
        pass


def open_chat(engine: LocalEngine, clip: Path, budget: int = 40) -> ChatSession:
    session = ChatSession(engine)
    session.set_source(make_source(engine, clip, budget))
    return session


def test_returning_is_a_hit_with_the_same_answers(engine: LocalEngine, clip: Path) -> None:
    session = ChatSession(engine)
    whole, part = make_source(engine, clip), make_source(engine, clip, 20, start_seconds=1.0, end_seconds=4.0)
    session.set_source(whole)
    first, second = answer(session, "What is first?"), answer(session, "And then?")
    session.set_source(part)
    other = answer(session, "What is first?")
    assert not session.turns[0].stats.reused
    for source, expected in ((whole, first), (part, other), (whole, first)):
        session.set_source(source)
        assert session.turns == []
        events = list(session.ask("What is first?", GREEDY))
        assert progress_of(events) == []
        assert session.turns[0].answer == expected
        assert session.turns[0].stats.reused
    assert answer(session, "And then?") == second
    session.close()
    assert len(engine.prefix_cache) == 0


def test_a_chat_can_return_to_a_few_prefixes(engine: LocalEngine, clip: Path) -> None:
    session = ChatSession(engine)
    sources = [make_source(engine, clip, budget) for budget in range(4, 4 + MAX_PER_CHAT + 1)]
    for source in sources:
        session.set_source(source)
        answer(session, "What is first?")
    reused = []
    for source in (*sources[1:], sources[0]):
        session.set_source(source)
        answer(session, "What is first?")
        reused.append(session.turns[0].stats.reused)
    assert reused == [True] * MAX_PER_CHAT + [False]
    session.close()


def test_two_chats_about_the_same_frames_share_a_prefix(engine: LocalEngine, clip: Path) -> None:
    questions = ("What is first?", "And then?", "Why?")
    alone = open_chat(engine, clip)
    expected = [answer(alone, question) for question in questions]
    alone.close()
    one, two = open_chat(engine, clip), open_chat(engine, clip)
    for question, text in zip(questions, expected, strict=True):
        assert answer(one, question) == text
        assert answer(two, question) == text
    assert [turn.stats.reused for turn in one.turns] == [False, True, True]
    assert [turn.stats.reused for turn in two.turns] == [True, True, True]
    assert len(engine.prefix_cache) == 1
    one.undo()
    assert answer(one, "Why?") == expected[2]
    two.clear()
    assert answer(two, questions[0]) == expected[0]
    one.close()
    assert len(engine.prefix_cache) == 1  # the other may return to it
    two.close()
    assert len(engine.prefix_cache) == 0


def test_attribution_works_after_another_chat_used_the_prefix(engine: LocalEngine, clip: Path) -> None:
    alone = open_chat(engine, clip)
    answer(alone, "What is first?")
    answer(alone, "And then?")
    expected = alone.attribute_last_answer()
    alone.close()
    one, two = open_chat(engine, clip), open_chat(engine, clip)
    answer(one, "What is first?")
    answer(one, "And then?")
    answer(two, "Something else?")
    found = one.attribute_last_answer()
    assert expected is not None
    assert found is not None
    assert found.attribution is not None
    assert expected.attribution is not None
    assert [frame for frame, _ in found.attribution.log_prob_drops] == [
        frame for frame, _ in expected.attribution.log_prob_drops
    ]
    one.close()
    two.close()


def test_chats_that_answer_at_the_same_time_have_a_copy_each(engine: LocalEngine, clip: Path) -> None:
    alone = open_chat(engine, clip)
    expected = answer(alone, "What is first?")
    alone.close()
    one, two = open_chat(engine, clip), open_chat(engine, clip)
    running = one.ask("What is first?", GREEDY)
    begun = next(event for event in running if isinstance(event, TextDelta)).text
    assert answer(two, "What is first?") == expected
    assert two.turns[0].stats.reused
    assert len(engine.prefix_cache) == 2
    assert begun + "".join(event.text for event in running if isinstance(event, TextDelta)) == expected
    one.close()
    two.close()


def test_without_memory_for_a_copy_one_waits_for_the_other(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = open_chat(engine, clip), open_chat(engine, clip)
    running = one.ask("What is first?", GREEDY)
    begun = next(event for event in running if isinstance(event, TextDelta)).text
    monkeypatch.setattr(BudgetMeter, "fits", False)
    texts: list[str] = []
    waiting = threading.Thread(target=lambda: texts.append(answer(two, "What is first?")))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    expected = begun + "".join(event.text for event in running if isinstance(event, TextDelta))
    waiting.join(30)
    assert texts == [expected]
    assert len(engine.prefix_cache) == 1
    running = one.ask("And then?", GREEDY)
    next(running)
    stopped = threading.Thread(target=lambda: list(two.ask("And then?", GREEDY)))
    stopped.start()
    two.stop()
    stopped.join(30)
    assert len(two.turns) == 1
    running.close()
    one.close()
    two.close()


def test_a_chat_that_wants_the_same_frames_shows_the_progress(engine: LocalEngine, clip: Path) -> None:
    one, two = open_chat(engine, clip), open_chat(engine, clip)
    prefilling = one.ask("What is first?", GREEDY)
    first = next(prefilling)
    watching = two.ask("What is first?", GREEDY)
    assert next(watching) == first
    assert isinstance(first, Progress)
    list(prefilling)
    assert {event.stage for event in progress_of(list(watching))} == {"sampling"}
    assert two.turns[0].answer == one.turns[0].answer
    assert not two.turns[0].stats.reused
    assert len(engine.prefix_cache) == 1
    one.close()
    two.close()


def test_if_one_chat_stops_its_prefill_the_other_starts_its_own(engine: LocalEngine, clip: Path) -> None:
    one, two = open_chat(engine, clip), open_chat(engine, clip)
    prefilling = one.ask("What is first?", GREEDY)
    next(prefilling)
    watching = two.ask("What is first?", GREEDY)
    next(watching)
    one.stop()
    assert progress_of(list(prefilling)) == []
    assert list(watching)
    assert (len(one.turns), len(two.turns)) == (0, 1)
    one.close()
    two.close()


def test_an_evicted_prefix_is_prefilled_again_and_reported(engine: LocalEngine, clip: Path) -> None:
    alone = open_chat(engine, clip)
    expected = [answer(alone, question) for question in ("What is first?", "And then?")]
    alone.close()
    session = open_chat(engine, clip)
    answer(session, "What is first?")
    assert not session.turns[0].stats.was_evicted
    assert engine.prefix_cache.evict_oldest()
    with counted(engine.loaded.model.model.vision_tower) as encodings:
        assert answer(session, "And then?") == expected[1]
    assert encodings == []  # small features are stored beside the pixels
    assert session.turns[1].stats.was_evicted
    messages = stats_messages(session.turns[1].stats, expected[1], has_frames=True)
    assert "stats.evicted" in [line["key"] for line in messages]
    session.close()


def test_an_unshared_chat_has_its_own_prefix(engine: LocalEngine, clip: Path) -> None:
    one = open_chat(engine, clip)
    answer(one, "What is first?")
    other = ChatSession(engine, is_shared=False)
    other.set_source(make_source(engine, clip))
    answer(other, "What is first?")
    assert not other.turns[0].stats.reused
    answer(other, "And then?")
    assert other.turns[1].stats.reused
    other.close()
    one.close()


def test_the_least_recently_used_idle_entry_is_evicted_first(engine: LocalEngine) -> None:
    prefix_cache, chats = PrefixCache(), [Chat() for _ in range(4)]
    entries = [CachedPrefix((name,), engine.new_cache(64), chat) for name, chat in zip("abcd", chats, strict=True)]
    size = entries[0].cache.num_bytes
    for prefix, chat in zip(entries[:3], chats, strict=False):
        prefix_cache.insert(prefix, chat, free_bytes=100 * size)
    assert prefix_cache.idle_bytes == 3 * size
    entries[0].busy.acquire()
    assert prefix_cache.idle_bytes == 2 * size
    assert (prefix_cache.num_bytes, prefix_cache.num_evicted) == ((3 * size, 0), 0)
    # Half of 2 + 3 times the size fits two.
    prefix_cache.insert(entries[3], chats[3], free_bytes=2 * size)
    assert prefix_cache.lookup(("b",), chats[1]) is None
    assert prefix_cache.lookup(("a",), chats[0]) is entries[0]
    prefix_cache.insert(entries[3], chats[3], free_bytes=0)
    assert prefix_cache.lookup(("c",), chats[2]) is None
    assert prefix_cache.lookup(("d",), chats[3]) is entries[3]  # the newest stays in any case
    entries[0].busy.release()
    assert prefix_cache.evict_oldest()
    assert prefix_cache.lookup(("a",), chats[0]) is None
    assert prefix_cache.num_evicted == 3
    del chats[3]
    gc.collect()
    assert prefix_cache.idle_bytes == 0  # no chat returns
    assert prefix_cache.num_evicted == 3  # does not count as evicted
    assert not prefix_cache.evict_oldest()


def test_evicted_entries_are_offloaded_and_restored(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = open_chat(engine, clip)
    questions = ("What is first?", "And then?", "Why?")
    expected = [answer(alone, question) for question in questions]
    alone.close()
    monkeypatch.setattr(engine, "prefix_cache", PrefixCache(free_host_bytes=lambda: 10**9))
    session, other = open_chat(engine, clip), open_chat(engine, clip, 20)
    assert answer(session, questions[0]) == expected[0]
    answer(other, questions[0])
    [prefix] = engine.prefix_cache.entries_of(session.prefix.lease)
    allocated = prefix.cache.num_bytes
    for question, text in zip(questions[1:], expected[1:], strict=True):
        while engine.prefix_cache.evict_oldest():
            pass
        assert prefix.is_offloaded
        assert prefix.cache.num_bytes < allocated  # without spare capacity
        with counted(engine.loaded.model.model.vision_tower) as encodings:
            assert answer(session, question) == text
        assert encodings == []
        assert not prefix.is_offloaded
        assert prefix.cache.num_bytes >= allocated
        lines = stats_messages(session.turns[-1].stats, text, has_frames=True)
        assert "stats.restored" in [line["key"] for line in lines]
    assert len(engine.prefix_cache) == 2
    session.close()
    other.close()


def test_the_host_holds_what_fits(engine: LocalEngine) -> None:
    chats = [Chat() for _ in range(4)]
    entries = [CachedPrefix((name,), engine.new_cache(0), chat) for name, chat in zip("abcd", chats, strict=True)]
    for prefix in entries:
        engine.prefill_text(list(range(1, 65)), prefix.cache)
        prefix.cache.move_to(HOST)  # without spare capacity
    size, free = entries[0].cache.num_bytes, 0
    prefix_cache = PrefixCache(free_host_bytes=lambda: free)
    for prefix, chat in zip(entries, chats, strict=True):
        prefix_cache.insert(prefix, chat, free_bytes=100 * size)
    assert prefix_cache.evict_oldest()  # does not fit the host: dropped
    assert prefix_cache.lookup(("a",), chats[0]) is None
    free = 2 * size
    assert prefix_cache.evict_oldest()
    free -= size
    assert prefix_cache.evict_oldest()  # half of 1 + 1 times the size fits one
    assert prefix_cache.lookup(("b",), chats[1]) is None
    assert [prefix.is_offloaded for prefix in entries] == [False, True, True, False]
    assert prefix_cache.idle_bytes == size
    assert (prefix_cache.num_bytes, prefix_cache.num_evicted) == ((size, size), 2)
    assert prefix_cache.evict_oldest()
    assert not prefix_cache.evict_oldest()
    assert prefix_cache.lookup(("d",), chats[3]) is entries[3]
    assert prefix_cache.lookup(("d",), chats[3]).is_offloaded


def test_an_entry_that_cannot_be_restored_is_dropped(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "prefix_cache", PrefixCache(free_host_bytes=lambda: 10**9))
    session = open_chat(engine, clip)
    expected = answer(session, "What is first?")
    session.undo()
    assert engine.prefix_cache.evict_oldest()
    [prefix] = engine.prefix_cache.entries_of(session.prefix.lease)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(prefix.cache._growing[-1], "reserve", fail)
    with pytest.raises(BudgetError):
        answer(session, "What is first?")
    assert len(engine.prefix_cache) == 0
    assert answer(session, "What is first?") == expected
    assert not session.turns[0].stats.reused
    session.close()
