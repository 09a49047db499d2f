"""Coming back to what was read before: at once, with the same answers, and within a bound."""

from pathlib import Path

from longva_demo.chat import ChatSession, Engine
from longva_demo.chat.shelf import MOST_PREFIXES, Prefix, Shelf
from tests.chat.conftest import GREEDY, answer, make_source, progress_of


def test_coming_back_reads_nothing_and_answers_as_before(engine: Engine, clip: Path) -> None:
    session = ChatSession(engine)
    whole, part = make_source(engine, clip), make_source(engine, clip, 20, start_seconds=1.0, end_seconds=4.0)
    session.look_at(whole)
    first, second = answer(session, "What is first?"), answer(session, "And then?")
    session.look_at(part)
    other = answer(session, "What is first?")
    assert not session.turns[0].stats.reused
    for source, expected in ((whole, first), (part, other), (whole, first)):
        session.look_at(source)
        assert session.turns == []
        events = list(session.ask("What is first?", GREEDY))
        assert progress_of(events) == []
        assert session.turns[0].answer == expected
        assert session.turns[0].stats.reused
    assert answer(session, "And then?") == second
    session.close()


def test_only_so_many_are_kept_and_the_oldest_go_first(engine: Engine, clip: Path) -> None:
    session = ChatSession(engine)
    sources = [make_source(engine, clip, budget) for budget in range(4, 4 + MOST_PREFIXES + 2)]
    for source in sources:
        session.look_at(source)
        answer(session, "What is first?")
    reused = []
    for source in (*sources[1:], sources[0]):
        session.look_at(source)
        answer(session, "What is first?")
        reused.append(session.turns[0].stats.reused)
    assert reused == [True] * (MOST_PREFIXES + 1) + [False]
    session.close()


def test_a_share_of_the_free_memory_bounds_them(engine: Engine) -> None:
    shelf = Shelf()
    caches = [engine.new_cache(64) for _ in range(3)]
    size = caches[0].num_bytes
    assert size > 0
    shelf.put(Prefix(("a",), caches[0]), free_bytes=100 * size)
    shelf.put(Prefix(("b",), caches[1]), free_bytes=100 * size)
    assert shelf.num_bytes == 2 * size
    # A quarter of 3 + 3 times the size is room for one.
    shelf.put(Prefix(("c",), caches[2]), free_bytes=3 * size)
    assert shelf.take(("b",)) is None
    assert shelf.take(("c",)) is not None
    shelf.put(Prefix(("d",), caches[0]), free_bytes=0)
    assert len(shelf) == 0
