"""Work on all cores: results in order, errors where they occur, and clients take turns."""

import threading

import pytest

from longva_demo import parallel
from longva_demo.parallel import available_cpus, in_threads
from longva_demo.quotas import CLIENT


def test_results_are_in_the_order_of_the_items() -> None:
    assert list(in_threads(lambda number: number * number, range(100))) == [number * number for number in range(100)]
    assert list(in_threads(str, [])) == []


def test_an_error_is_raised_in_place_of_its_result() -> None:
    results = in_threads(lambda number: 6 // number, [3, 0, 2])
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(in_threads(abs, [-1])) == [1]


def test_clients_take_turns() -> None:
    """A client's three items do not wait for a hundred of another one."""
    started, go = threading.Semaphore(0), threading.Event()
    order: list[str] = []

    def work(client: str) -> None:
        started.release()
        go.wait(60)
        order.append(client)

    num_threads = min(8, available_cpus())
    token = CLIENT.set("flood")
    try:
        flood = in_threads(work, ["flood"] * 100)
        for _ in range(num_threads):
            started.acquire(timeout=60)
        CLIENT.set("visitor")
        visitor = in_threads(work, ["visitor"] * 3)
        go.set()
        assert len(list(visitor)) == 3
        assert len(list(flood)) == 100
    finally:
        CLIENT.reset(token)
    assert max(place for place, client in enumerate(order) if client == "visitor") < 6 + 2 * num_threads
    assert parallel.waiting == {}
