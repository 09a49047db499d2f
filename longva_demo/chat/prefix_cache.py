"""The prefix cache of an engine: KV caches of header and frames, shared by chats about the same frames.

After a prefix, its KV cache holds the turns of the chat that used it last. Another chat truncates them and prefills its
own, which are few tokens. Chats that answer at the same time need a copy each.

If the model is on a GPU, evicted entries are offloaded to host memory first, as far as that has room.
"""

import threading
from collections.abc import Callable, Iterator
from weakref import WeakSet, ref

import torch

from longva_demo.chat.engine import Figure
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.turn import Progress

# Prefixes that one chat can return to, the present one included.
MAX_PER_CHAT = 4
# Share of the memory, free without them, that idle entries may take. The newest is kept in any case.
MAX_SHARE = 0.5
HOST = torch.device("cpu")
Key = tuple[object, ...]


class CachedPrefix:
    """An entry. `key` identifies frames and model; `chats` are those that may return to it.

    Only the holder of `busy` may use the KV cache.
    """

    def __init__(self, key: Key, cache: GrowingCache, chat: object) -> None:
        self.key, self.cache = key, cache
        self.num_tokens = cache.get_seq_length()
        self.chats: WeakSet[object] = WeakSet([chat])
        self.busy = threading.Lock()
        self.is_offloaded = False
        self._last = ref(chat)

    def has_turns_of(self, chat: object) -> bool:
        """Whether the turns after the frames are those of `chat`."""
        return self._last() is chat

    def assign(self, chat: object) -> None:
        """Let `chat` use it: the turns of another chat are truncated."""
        if not self.has_turns_of(chat):
            self.cache.truncate(self.num_tokens)
            self._last = ref(chat)
        self.chats.add(chat)

    def offload(self) -> None:
        """Move to host memory. A chat that is copying the cache still has the old tensors."""
        self.cache.move_to(HOST)
        self.is_offloaded = True

    def restore(self, device: torch.device, capacity: int) -> None:
        """Move back to the model's device, allocated for `capacity` tokens."""
        self.cache.move_to(device, capacity)
        self.is_offloaded = False


class PrefixCache:
    """All entries, least recently used first. Each is kept as long as a chat may return to it."""

    def __init__(self, free_host_bytes: Callable[[], int] | None = None) -> None:
        """`free_host_bytes` returns the free host memory; None if the model is on the CPU, so nothing is offloaded."""
        self._free_host_bytes = free_host_bytes
        self._lock = threading.RLock()
        self._entries: list[CachedPrefix] = []
        self._in_prefill: dict[Key, Progress | None] = {}
        self.num_evicted = 0  # entries dropped although a chat might have returned to them

    def lookup(self, key: Key, chat: object) -> CachedPrefix | None:
        """Prefers the entry with this chat's turns, then an idle one, then one that is not offloaded."""

        def rank(prefix: CachedPrefix) -> tuple[bool, ...]:
            return prefix.has_turns_of(chat), not prefix.busy.locked(), not prefix.is_offloaded

        with self._lock:
            return max((prefix for prefix in self._entries if prefix.key == key), key=rank, default=None)

    def entries_of(self, chat: object) -> list[CachedPrefix]:
        with self._lock:
            return [prefix for prefix in self._entries if chat in prefix.chats]

    def insert(self, prefix: CachedPrefix, chat: object, free_bytes: int) -> None:
        """Make `prefix` the most recently used, by `chat`, and evict what exceeds the limits."""
        with self._lock:
            if prefix in self._entries:
                self._entries.remove(prefix)
            self._entries.append(prefix)
            for old in self.entries_of(chat)[:-MAX_PER_CHAT]:
                old.chats.discard(chat)
            self._drop_unused()
            while len(self._idle) > 1 and self.idle_bytes > MAX_SHARE * (free_bytes + self.idle_bytes):
                self.evict_oldest()

    def remove(self, prefix: CachedPrefix) -> None:
        with self._lock:
            if prefix in self._entries:
                self._entries.remove(prefix)
                self.num_evicted += 1

    def evict_oldest(self) -> bool:
        """Evict the least recently used idle entry. Returns False if all entries are in use."""
        with self._lock:
            self._drop_unused()
            oldest = next((prefix for prefix in self._idle if prefix.busy.acquire(blocking=False)), None)
            if oldest is None:
                return False
            fits = self._evict_from_host(oldest.cache.num_bytes)
            if not fits:
                self.remove(oldest)
        try:
            if fits:
                oldest.offload()
        except (MemoryError, RuntimeError):  # less was free than reported
            self.remove(oldest)
        finally:
            oldest.busy.release()
        return True

    def _evict_from_host(self, num_bytes: int) -> bool:
        """Drop the least recently used offloaded entries until `num_bytes` fit. Returns whether they do."""
        if self._free_host_bytes is None:
            return False
        offloaded = [prefix for prefix in self._entries if prefix.is_offloaded and not prefix.busy.locked()]
        held = sum(prefix.cache.num_bytes for prefix in offloaded)
        most = MAX_SHARE * (self._free_host_bytes() + held)
        while offloaded and held + num_bytes > most:
            oldest = offloaded.pop(0)
            held -= oldest.cache.num_bytes
            self.remove(oldest)
        return held + num_bytes <= most

    def forget(self, chat: object) -> None:
        """`chat` will not return to any entry."""
        with self._lock:
            for prefix in self._entries:
                prefix.chats.discard(chat)
            self._drop_unused()

    @property
    def idle_bytes(self) -> int:
        """Bytes on the model's device that eviction would free."""
        with self._lock:
            self._drop_unused()
            return sum(prefix.cache.num_bytes for prefix in self._idle)

    @property
    def num_bytes(self) -> tuple[int, int]:
        """Bytes of all entries on the model's device, and of those offloaded to the host."""
        with self._lock:
            on_device, on_host = (
                sum(prefix.cache.num_bytes for prefix in self._entries if prefix.is_offloaded is offloaded)
                for offloaded in (False, True)
            )
            return on_device, on_host

    def figures(self) -> Iterator[Figure]:
        """Its metrics."""
        cached = dict(zip(("model", "host"), map(float, self.num_bytes), strict=True))
        yield Figure("kv_bytes", "Bytes of cached prefixes by memory", cached, "memory")
        evicted = "Prefixes evicted while a chat could still ask about them"
        yield Figure("prefixes_evicted", evicted, {"": self.num_evicted}, is_counter=True)

    # If two chats want the same frames at the same time, one prefills them; the other waits and shows the progress.

    def start_prefill(self, key: Key) -> Callable[[Progress], None] | None:
        """Register a prefill. Returns a function that takes its progress, or None if one of this key is running."""
        with self._lock:
            if key in self._in_prefill:
                return None
            self._in_prefill[key] = None

        def report(progress: Progress) -> None:
            self._in_prefill[key] = progress

        return report

    def finish_prefill(self, key: Key) -> None:
        with self._lock:
            del self._in_prefill[key]

    def progress(self, key: Key) -> Progress | None:
        """Of the running prefill."""
        return self._in_prefill.get(key)

    @property
    def _idle(self) -> list[CachedPrefix]:
        """Entries on the model's device that nobody uses."""
        return [prefix for prefix in self._entries if not prefix.is_offloaded and not prefix.busy.locked()]

    def _drop_unused(self) -> None:
        """Drop entries that no chat will return to. A chat that was garbage-collected has left `chats`."""
        self._entries = [prefix for prefix in self._entries if prefix.chats or prefix.busy.locked()]

    def __len__(self) -> int:
        return len(self._entries)
