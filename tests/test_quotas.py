"""What clients can hold, in all and each; and who is next."""

import gc
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from longva_demo import quotas as module
from longva_demo.quotas import FairLock, Holding, Quota, QuotaError, Quotas, Slots, client_of
from longva_demo.settings import Settings


def test_a_client_holds_at_most_its_share() -> None:
    quota = Quota("open pages", 8, 0.25)
    with quota.hold("a", 2), quota.hold("b"):
        with pytest.raises(QuotaError, match="your network address has too many open pages; try again in a minute"):
            quota.take("a")
        assert (quota.used, quota.num_refused) == (3, 1)
        with (
            quota.hold("b"),
            quota.hold("c", 2),
            quota.hold("d", 2),
            pytest.raises(QuotaError, match="the server has too many open pages; try again in a minute"),
        ):
            quota.take("e")
    assert (quota.used, quota.num_refused) == (0, 2)
    with quota.hold("", 8):  # this machine's own work
        assert quota.used == 8


def test_what_an_object_holds_is_given_back_with_it() -> None:
    quota = Quota("bytes", 100, 0.5)
    held = Holding(quota, "a", 20)
    held.add(20)
    held.remove(5)
    with pytest.raises(QuotaError):
        held.add(20)
    assert quota.used == 35
    del held
    gc.collect()
    assert quota.used == 0
    with pytest.raises(QuotaError):
        Holding(quota, "a", 51)
    gc.collect()
    assert quota.used == 0


def test_the_garbage_collector_gives_back_at_any_moment() -> None:
    """Also while a quota refuses something, in the same thread."""
    quota = Quota("bytes", 10**6)

    class Cycle:
        def __init__(self) -> None:
            self.held, self.itself = Holding(quota, "a", 1), self

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(2000):
            Cycle()
            with suppress(QuotaError):
                quota.take("b", 10**7)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert quota.used == 0


def test_a_free_slot_goes_to_the_client_with_the_fewest() -> None:
    slots = Slots("videos to decode", 6)
    assert [slots.acquire("a", 0) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(QuotaError, match="the server has too many videos to decode"):
        slots.acquire("a", 0.01)  # two are free, for others
    assert slots.acquire("b", 0) == 1
    assert slots.acquire("c", 0) == 1
    order: list[str] = []

    def wait(client: str) -> None:
        slots.acquire(client, 60)
        order.append(client)

    threads = []
    for client in ("b", "d", "b", "d"):
        threads.append(threading.Thread(target=wait, args=(client,)))
        threads[-1].start()
        while len(slots._waiting) < len(threads):
            time.sleep(0.001)
    for number in range(4):
        slots.release("a")
        threads_done = number + 1
        while len(order) < threads_done:
            time.sleep(0.001)
    assert order == ["d", "b", "d", "b"]
    assert (slots.used, slots.num_refused) == (6, 1)
    assert slots.acquire("", 0) == 0  # this machine's own work
    assert slots.used == 6


def test_clients_take_turns_for_a_single_slot() -> None:
    slots, order = Slots("pictures to decode", 1), []

    def run(client: str) -> None:
        slots.acquire(client, 60)
        order.append(client)
        slots.release(client)

    slots.acquire("a", 60)
    threads = [threading.Thread(target=run, args=(client,)) for client in ("a", "a", "a", "b", "c")]
    for number, thread in enumerate(threads, 1):
        thread.start()
        while len(slots._waiting) < number:
            time.sleep(0.001)
    slots.release("a")
    for thread in threads:
        thread.join(60)
    assert order == ["b", "c", "a", "a", "a"]
    assert (slots.used, slots._turns) == (0, {})


class Calls:
    """Threads that hold a `FairLock`, each for some seconds of a clock that only they move."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.lock = FairLock(lambda: self.seconds)
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def start(self, client: str, seconds: float) -> None:
        """Start one more, and wait until it waits for the lock."""
        before = self.num_waiting
        self._threads.append(threading.Thread(target=self.call, args=(client, seconds)))
        self._threads[-1].start()
        while self.num_waiting == before:
            time.sleep(0.001)

    def call(self, client: str, seconds: float) -> None:
        with self.lock.hold(client):
            self.order.append(client)
            self.seconds += seconds

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self.lock._waiting.values()))

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
        assert self.num_waiting == 0


def test_a_fair_lock_goes_to_who_has_held_it_least() -> None:
    calls = Calls()
    with calls.lock.hold("first"):
        for client, seconds in (("a", 2.0), ("a", 2.0), ("a", 2.0), ("b", 1.0), ("b", 1.0), ("b", 1.0), ("b", 1.0)):
            calls.start(client, seconds)
    calls.join()
    assert "".join(calls.order) == "abbabba"


def test_short_calls_do_not_wait_for_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor's tokens come one after the other; between them, others wait."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 30.0)
    calls = Calls()
    with calls.lock.hold("visitor"):
        for _ in range(3):
            calls.start("flood", 0.5)
    for _ in range(20):
        calls.call("visitor", 0.01)
    assert calls.order == ["flood", *["visitor"] * 20]
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.0)
    calls.call("visitor", 0.01)  # does not come back
    calls.join()
    assert calls.order[22:] == ["flood"] * 2


def test_without_another_thread_nobody_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", fail)
    calls = Calls()
    with calls.lock.hold("flood"):
        calls.start("visitor", 0.1)
        calls.start("flood", 0.5)
        calls.seconds += 1.0
    calls.join()
    assert calls.order == ["visitor", "flood"]


def test_few_clients_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 3)
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.0)
    calls = Calls()
    with calls.lock.hold(""):
        for number in range(20):
            calls.start(f"client {number}", 1.0)
        for number in range(20):
            calls.start(f"client {number}", 1.0)
    calls.join()
    assert len(calls.order) == 40
    calls.call("", 1.0)
    with calls.lock.hold("another"):
        calls.start("one more", 1.0)
    calls.join()
    assert len(calls.lock._seconds) <= 4


def test_nobody_saves_up_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.0)
    calls = Calls()
    with calls.lock.hold("busy"):
        calls.start("idle", 0.1)
    calls.join()
    calls.call("busy", 1000.0)
    with calls.lock.hold("busy"):
        for _ in range(4):
            calls.start("idle", 0.6)
        calls.start("busy", 0.1)
    calls.join()
    assert calls.order[2:] == ["idle", "idle", "busy", "idle", "idle"]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("a unix socket", "a unix socket"),
        ("", "unknown"),
    ],
)
def test_an_address_names_a_client(address: str, client: str) -> None:
    assert client_of({"client": (address, 1)}) == client


def test_quotas_follow_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that clients hold in memory stays below what is set, with the pages themselves (about 50 kB each)."""
    monkeypatch.setattr(module, "machine_memory", lambda: 4 * 1024**3)
    small, set_by_hand = Quotas(Settings()), Quotas(Settings(max_client_memory_bytes=2**32, address_share=1.0))
    for quotas, memory in ((small, 2**30), (set_by_hand, 2**32)):
        in_bytes = quotas.body_bytes, quotas.unread_bytes, quotas.page_bytes
        assert sum(quota.maximum for quota in in_bytes) + 50_000 * quotas.pages.maximum <= memory
    assert small.pages.maximum_per_client == small.pages.maximum // 4
    assert set_by_hand.pages.maximum_per_client == set_by_hand.pages.maximum
    names = Counter(name for name, _ in small)
    assert names["connections"] == names["decoders"] == 1
    assert len(names) == 15


def test_connections_leave_room_for_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "max_open_files", lambda: 400)
    assert Quotas(Settings()).connections.maximum == 200
