"""Quotas: what clients can make the server hold, in all and for each address.

Nobody holds more than a share of anything, so that one client cannot shut out the others. What is free goes to the
client that holds least.
"""

import ipaddress
import resource
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import psutil

from longva_demo.errors import DemoError
from longva_demo.settings import Settings

Item = TypeVar("Item")

# The IP address for which the present work is done, set when a request arrives; threads inherit it. Empty for work of
# this machine's own programs, which has no quota.
CLIENT: ContextVar[str] = ContextVar("CLIENT", default="")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
MIB = 1024**2
# Of a `FairLock`: how long it waits for a client to come back, and what a client can save up.
RETURN_SECONDS, MAX_CREDIT_SECONDS = 0.02, 1.0
MAX_CLIENTS = 1000  # whose time is remembered


class QuotaError(DemoError):
    """A quota is used up."""


class Quota:
    """At most `maximum` of one resource in all, and a share of it for each client."""

    def __init__(self, what: str, maximum: int, share: float = 1.0) -> None:
        self.what = what
        self.maximum = maximum
        self.maximum_per_client = max(1, int(share * maximum))
        self.num_refused = 0
        self._held: Counter[str] = Counter()
        self._used = 0
        self._returned: deque[tuple[str, int]] = deque()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        with self._lock:
            self._settle()
            return self._used

    def take(self, client: str, amount: int = 1) -> None:
        """Hold `amount` more for `client`, until it is given back.

        Raises:
            QuotaError: too much is held already. Nothing more is held then.
        """
        with self._lock:
            self._settle()
            used, held = self._used + amount, self._held[client] + amount
            if used > self.maximum or (client and held > self.maximum_per_client):
                self.num_refused += 1
                whose = "the server" if used > self.maximum else "your network address"
                raise QuotaError(f"{whose} has too many {self.what}", "try again in a minute")
            self._used, self._held[client] = used, held

    def give_back(self, client: str, amount: int = 1) -> None:
        """Takes no lock, since the garbage collector may call this at any moment, for a `Holding`."""
        self._returned.append((client, amount))

    def _settle(self) -> None:
        """Subtract what was given back. The caller holds the lock."""
        while self._returned:
            client, amount = self._returned.popleft()
            self._used -= amount
            self._held[client] -= amount
            if not self._held[client]:
                del self._held[client]

    @contextmanager
    def hold(self, client: str, amount: int = 1) -> Iterator[None]:
        """`take` for the duration of a `with` block."""
        self.take(client, amount)
        try:
            yield
        finally:
            self.give_back(client, amount)


class Holding:
    """What one object holds of a quota. It is given back when the object is gone."""

    def __init__(self, quota: Quota, client: str, amount: int = 0) -> None:
        self._quota = quota
        self._client = client
        self._amounts = [0]  # apart, for the finalizer
        weakref.finalize(self, give_back_all, quota, client, self._amounts)
        self.add(amount)

    def add(self, amount: int) -> None:
        """Raises QuotaError if the quota is used up."""
        self._quota.take(self._client, amount)
        self._amounts[0] += amount

    def remove(self, amount: int) -> None:
        self._quota.give_back(self._client, amount)
        self._amounts[0] -= amount


def give_back_all(quota: Quota, client: str, amounts: list[int]) -> None:
    quota.give_back(client, sum(amounts))


class Slots:
    """A semaphore. A free slot goes to the waiting client that holds the fewest, or had one longest ago."""

    def __init__(self, what: str, maximum: int, max_per_client: int = 0) -> None:
        self.what = what
        self.maximum = maximum
        self.num_refused = 0
        self._max_per_client = max_per_client or max(4, maximum // 4)  # a page can need three at once
        self._held: Counter[str] = Counter()
        self._turns: dict[str, int] = {}  # the number of each client's last turn, while it holds or waits
        self._num_turns = 0
        self._waiting: list[tuple[str, threading.Event]] = []
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        return self._held.total()

    def acquire(self, client: str, timeout: float) -> int:
        """Wait for a slot. Returns how many the client holds then, this one included; 0 without a client.

        Raises:
            QuotaError: there was none for `timeout` seconds.
        """
        if not client:
            return 0
        ticket = client, threading.Event()
        with self._lock:
            self._waiting.append(ticket)
            self._grant()
        if not ticket[1].wait(timeout):
            with self._lock:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                    self.num_refused += 1
                    raise QuotaError(f"the server has too many {self.what}", "try again in a minute")
        return self._held[client]

    def release(self, client: str) -> None:
        if client:
            with self._lock:
                self._held[client] -= 1
                self._grant()

    @contextmanager
    def hold(self, client: str, timeout: float) -> Iterator[None]:
        """`acquire` for the duration of a `with` block."""
        self.acquire(client, timeout)
        try:
            yield
        finally:
            self.release(client)

    def _grant(self) -> None:
        while self.used < self.maximum:
            allowed = [ticket for ticket in self._waiting if self._held[ticket[0]] < self._max_per_client]
            if not allowed:
                break
            ticket = min(allowed, key=lambda ticket: (self._held[ticket[0]], self._turns.get(ticket[0], 0)))
            self._waiting.remove(ticket)
            self._held[ticket[0]] += 1
            self._num_turns += 1
            self._turns[ticket[0]] = self._num_turns
            ticket[1].set()
        self._held = +self._held
        clients = {client for client, _ in self._waiting} | set(self._held)
        self._turns = {client: turn for client, turn in self._turns.items() if client in clients}


class FairLock:
    """A lock that goes to the waiting client that has held it for the shortest time, however many threads wait.

    A client with less time than those who wait is expected back at once, as an answer's next token comes soon: the lock
    stays free for it for RETURN_SECONDS. Otherwise each of its short calls would wait for a long one of theirs.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._holder: str | None = None
        self._expected: str | None = None
        self._waiting: dict[str, deque[threading.Event]] = {}
        self._seconds: dict[str, float] = {}  # for which each client has held it; what counts are the differences
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, client: str, comes_back: bool = True) -> Iterator[None]:
        """Wait for the lock, and hold it during the `with` block. `comes_back`: it may be expected back."""
        turn = threading.Event()
        with self._lock:
            self._enter(client)
            self._waiting.setdefault(client, deque()).append(turn)
            if self._holder is None and self._expected in (None, client):
                self._pass_on()
        turn.wait()
        started = self._now()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[client] += self._now() - started
                self._holder = None
                if comes_back and self._is_expected(client):
                    self._expected = client
                    timer = threading.Timer(RETURN_SECONDS, self._stop_expecting, (client,))
                    timer.daemon = True
                    try:
                        timer.start()
                    except RuntimeError:  # there can be no more threads
                        self._pass_on()
                else:
                    self._pass_on()

    def _enter(self, client: str) -> None:
        """One that is new has as much as the least of the others who are here; one that comes back, not much less."""
        others = [self._seconds[other] for other in (*self._waiting, self._holder) if other not in (None, client)]
        if len(self._seconds) > MAX_CLIENTS:
            self._seconds = {
                other: self._seconds[other] for other in (*self._waiting, self._holder) if other is not None
            }
        if client not in self._waiting and others:
            least = min(others)
            self._seconds[client] = max(self._seconds.get(client, least), least - MAX_CREDIT_SECONDS)
        elif client not in self._seconds:
            self._seconds = {client: 0.0}

    def _is_expected(self, client: str) -> bool:
        is_short = all(self._seconds[client] < self._seconds[other] for other in self._waiting)
        return bool(self._waiting) and client not in self._waiting and is_short

    def _stop_expecting(self, client: str) -> None:
        with self._lock:
            if self._expected == client and self._holder is None:
                self._pass_on()

    def _pass_on(self) -> None:
        self._expected = None
        if self._waiting:
            client = min(self._waiting, key=lambda waiting: self._seconds[waiting])
            turns = self._waiting[client]
            turns.popleft().set()
            if not turns:
                del self._waiting[client]
            self._holder = client


def fairest(waiting: Sequence[Item], held: Counter[str], client_of: Callable[[Item], str]) -> Item:
    """The first item of the client that holds the fewest.

    >>> fairest(["a1", "a2", "b1"], Counter(a=2, b=1), lambda item: item[0])
    'b1'
    """
    return min(waiting, key=lambda item: held[client_of(item)])


class Quotas:
    """All quotas of one server. Those of memory, and the number of pages, are parts of the memory for clients."""

    def __init__(self, settings: Settings) -> None:
        share = settings.address_share
        memory = settings.max_client_memory_bytes or machine_memory() // 4
        connections = min(settings.max_connections, max_open_files() // 2)
        self.connections = Quota("connections", connections)
        self.requests = Quota("requests at once", connections, share)
        self.body_bytes = Quota("bytes in requests", memory // 8, share)
        self.unread_bytes = Quota("answers that nobody reads", memory // 8, share)
        self.events = Quota("waiting requests", 512, share)
        self.pages = Quota("open pages", max(64, memory // MIB), share)
        self.page_bytes = Quota("frames and pictures in open pages", memory // 2, share)
        self.disk_bytes = Quota("frames and previews on the disk", settings.max_storage_bytes // 2, share)
        self.uploads = Quota("uploads at once", 128, share)
        self.downloads = Quota("downloads at once", 16, share)
        self.frames = Quota("enlarged frames at once", 8, share)
        self.api_questions = Quota("questions at once", 128, share)

    def __iter__(self) -> Iterator[tuple[str, "Quota | Slots"]]:
        """All of them, with their names."""
        yield from vars(self).items()
        yield "decoders", DECODERS
        yield "pictures", PICTURES
        yield "recognisers", RECOGNISERS


def client_of(scope: Mapping[str, Any]) -> str:
    """The IP address from which an ASGI request comes, as the name of a client.

    Of an IPv6 address the network /64, since one visitor has all addresses in it.

    >>> client_of({"client": ("203.0.113.7", 443)}), client_of({"client": ("2001:db8::7", 443)})
    ('203.0.113.7', '2001:db8::/64')
    """
    text = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text or "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        network = ipaddress.ip_network((int(address) >> 64 << 64, 64))
        return str(address.ipv4_mapped or network)
    return str(address)


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return total


def max_open_files() -> int:
    """How many files this process may have open, connections included."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else 2**20


# Pictures need up to 2 GB while they are decoded. These belong to this process, not to one app.
PICTURES = Slots("pictures to decode", 1)
# Processes that decode, each a few hundred MB.
DECODERS = Slots("videos to decode", min(32, max(8, machine_memory() // (512 * MIB))))
# Processes that recognise speech or text in frames: minutes of all cores, and up to a few GB.
RECOGNISERS = Slots("videos whose speech or text is read", max(1, min(8, machine_memory() // (4096 * MIB))), 1)
