"""What was read, for all chats of an engine: prefixes in the model's cache, shared by chats about the same frames.

A prefix is header and frames. Behind it in the same cache stand the turns of the chat that worked with it last; for
another one they are cut off and its own are fed, few tokens. Chats that answer at the same moment need a copy each.

Where the model is on a GPU, what has to make room there goes to the host's memory first, as far as that has some.
"""

import threading
from collections.abc import Callable
from weakref import WeakSet, ref

import torch

from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.turn import Progress

# Prefixes that one chat can come back to, the present one among them.
MAX_OF_A_CHAT = 4
# Idle ones may take this share of the memory that would be free without them; the newest is kept all the same.
MAX_SHARE = 0.5
HOST = torch.device("cpu")
Key = tuple[object, ...]


class CachedPrefix:
    """`key` says which frames and which model. Whoever holds `busy` may use the cache; `chats` may come back to it."""

    def __init__(self, key: Key, cache: GrowingCache, chat: object) -> None:
        self.key, self.cache = key, cache
        self.num_tokens = cache.get_seq_length()
        self.chats: WeakSet[object] = WeakSet([chat])
        self.busy = threading.Lock()
        self.is_offloaded = False  # in the host's memory
        self._last = ref(chat)

    def is_of(self, chat: object) -> bool:
        """Whether the turns behind the frames are those of `chat`."""
        return self._last() is chat

    def give_to(self, chat: object) -> None:
        """Let `chat` work with it: what others left behind the frames goes."""
        if not self.is_of(chat):
            self.cache.cut_to(self.num_tokens)
            self._last = ref(chat)
        self.chats.add(chat)

    def offload(self) -> None:
        """Into the host's memory. Whoever is just copying the cache has its tensors still."""
        self.cache.move_to(HOST)
        self.is_offloaded = True

    def restore(self, device: torch.device, room: int) -> None:
        """Back into the model's memory, with room for `room` tokens."""
        self.cache.move_to(device, room)
        self.is_offloaded = False


class PrefixCache:
    """All that is kept, least recently used first. Each is kept for as long as a chat may come back to it."""

    def __init__(self, host_free: Callable[[], int] | None = None) -> None:
        """`host_free` tells the free bytes of the host's memory; None where the model itself is there."""
        self._host_free = host_free
        self._guard = threading.RLock()
        self._entries: list[CachedPrefix] = []
        self._in_prefill: dict[Key, Progress | None] = {}
        self.num_evicted = 0  # so far, though a chat might have come back to it

    def lookup(self, key: Key, chat: object) -> CachedPrefix | None:
        """Rather the one with this chat's turns than an idle one, rather an idle one than one that is in use.

        Of several idle ones, rather one in the model's memory.
        """

        def worth(prefix: CachedPrefix) -> tuple[bool, ...]:
            return prefix.is_of(chat), not prefix.busy.locked(), not prefix.is_offloaded

        with self._guard:
            return max((prefix for prefix in self._entries if prefix.key == key), key=worth, default=None)

    def of(self, chat: object) -> list[CachedPrefix]:
        with self._guard:
            return [prefix for prefix in self._entries if chat in prefix.chats]

    def insert(self, prefix: CachedPrefix, chat: object, free_bytes: int) -> None:
        """Put `prefix` last, as just used by `chat`, and drop what is too much."""
        with self._guard:
            if prefix in self._entries:
                self._entries.remove(prefix)
            self._entries.append(prefix)
            for old in self.of(chat)[:-MAX_OF_A_CHAT]:
                old.chats.discard(chat)
            self._sweep()
            while len(self._idle) > 1 and self.idle_bytes > MAX_SHARE * (free_bytes + self.idle_bytes):
                self.evict_oldest()

    def remove(self, prefix: CachedPrefix) -> None:
        with self._guard:
            if prefix in self._entries:
                self._entries.remove(prefix)
                self.num_evicted += 1

    def evict_oldest(self) -> bool:
        """Have the one that nobody has used for longest leave the model's memory; False where all are in use."""
        with self._guard:
            self._sweep()
            oldest = next((prefix for prefix in self._idle if prefix.busy.acquire(blocking=False)), None)
            if oldest is None:
                return False
            fits = self._evict_on_host(oldest.cache.num_bytes)
            if not fits:
                self.remove(oldest)
        try:
            if fits:
                oldest.offload()
        except (MemoryError, RuntimeError):  # there was none after all
            self.remove(oldest)
        finally:
            oldest.busy.release()
        return True

    def _evict_on_host(self, num_bytes: int) -> bool:
        """Drop there what nobody has used for longest; whether `num_bytes` fit then."""
        if self._host_free is None:
            return False
        there = [prefix for prefix in self._entries if prefix.is_offloaded and not prefix.busy.locked()]
        held = sum(prefix.cache.num_bytes for prefix in there)
        most = MAX_SHARE * (self._host_free() + held)
        while there and held + num_bytes > most:
            oldest = there.pop(0)
            held -= oldest.cache.num_bytes
            self.remove(oldest)
        return held + num_bytes <= most

    def forget(self, chat: object) -> None:
        """`chat` comes back to nothing any more."""
        with self._guard:
            for prefix in self._entries:
                prefix.chats.discard(chat)
            self._sweep()

    @property
    def idle_bytes(self) -> int:
        """What could be freed in the model's memory."""
        with self._guard:
            self._sweep()
            return sum(prefix.cache.num_bytes for prefix in self._idle)

    @property
    def num_bytes(self) -> tuple[int, int]:
        """What is kept in the model's memory, in use or idle, and what was put by in the host's."""
        with self._guard:
            here, there = (
                sum(p.cache.num_bytes for p in self._entries if p.is_offloaded is by) for by in (False, True)
            )
            return here, there

    # Two chats that want the same frames at the same time: one reads, the other waits and sees how far it is.

    def start_prefill(self, key: Key) -> Callable[[Progress], None] | None:
        """Begin to read; what is returned takes the progress. None where somebody reads the same already."""
        with self._guard:
            if key in self._in_prefill:
                return None
            self._in_prefill[key] = None

        def note(progress: Progress) -> None:
            self._in_prefill[key] = progress

        return note

    def finish_prefill(self, key: Key) -> None:
        with self._guard:
            del self._in_prefill[key]

    def progress(self, key: Key) -> Progress | None:
        """Of the chat that reads it."""
        return self._in_prefill.get(key)

    @property
    def _idle(self) -> list[CachedPrefix]:
        """In the model's memory, and in nobody's use."""
        return [prefix for prefix in self._entries if not prefix.is_offloaded and not prefix.busy.locked()]

    def _sweep(self) -> None:
        """Forget what no chat comes back to; chats that are simply gone count as none."""
        self._entries = [prefix for prefix in self._entries if prefix.chats or prefix.busy.locked()]

    def __len__(self) -> int:
        return len(self._entries)
