"""What was read, for all chats of an engine: prefixes in the model's cache, shared by chats about the same frames.

A prefix is header and frames. Behind it in the same cache stand the turns of the chat that worked with it last; for
another one they are cut off and its own are fed, few tokens. Chats that answer at the same moment need a copy each.

Where the model is on a GPU, what has to make room there goes to the host's memory first, as far as that has some.
"""

import threading
from collections.abc import Callable
from weakref import WeakSet, ref

import torch

from longva_demo.chat.cache import GrowingCache
from longva_demo.chat.turn import Progress

# Prefixes that one chat can come back to, the present one among them.
MOST_OF_A_CHAT = 4
# Idle ones may take this share of the memory that would be free without them; the newest is kept all the same.
MOST_SHARE = 0.5
HOST = torch.device("cpu")
Key = tuple[object, ...]


class Prefix:
    """`key` says which frames and which model. Whoever holds `busy` may use the cache; `chats` may come back to it."""

    def __init__(self, key: Key, cache: GrowingCache, chat: object) -> None:
        self.key, self.cache = key, cache
        self.num_tokens = cache.get_seq_length()
        self.chats: WeakSet[object] = WeakSet([chat])
        self.busy = threading.Lock()
        self.is_put_by = False  # in the host's memory
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

    def put_by(self) -> None:
        """Into the host's memory. Whoever is just copying the cache has its tensors still."""
        self.cache.move_to(HOST)
        self.is_put_by = True

    def fetch(self, device: torch.device, room: int) -> None:
        """Back into the model's memory, with room for `room` tokens."""
        self.cache.move_to(device, room)
        self.is_put_by = False


class Prefixes:
    """All that is kept, least recently used first. Each is kept for as long as a chat may come back to it."""

    def __init__(self, host_free: Callable[[], int] | None = None) -> None:
        """`host_free` tells the free bytes of the host's memory; None where the model itself is there."""
        self._host_free = host_free
        self._guard = threading.RLock()
        self._kept: list[Prefix] = []
        self._being_read: dict[Key, Progress | None] = {}
        self.num_dropped = 0  # so far, though a chat might have come back to it

    def find(self, key: Key, chat: object) -> Prefix | None:
        """Rather the one with this chat's turns than an idle one, rather an idle one than one that is in use.

        Of several idle ones, rather one in the model's memory.
        """

        def worth(prefix: Prefix) -> tuple[bool, ...]:
            return prefix.is_of(chat), not prefix.busy.locked(), not prefix.is_put_by

        with self._guard:
            return max((prefix for prefix in self._kept if prefix.key == key), key=worth, default=None)

    def of(self, chat: object) -> list[Prefix]:
        with self._guard:
            return [prefix for prefix in self._kept if chat in prefix.chats]

    def keep(self, prefix: Prefix, chat: object, free_bytes: int) -> None:
        """Put `prefix` last, as just used by `chat`, and drop what is too much."""
        with self._guard:
            if prefix in self._kept:
                self._kept.remove(prefix)
            self._kept.append(prefix)
            for old in self.of(chat)[:-MOST_OF_A_CHAT]:
                old.chats.discard(chat)
            self._sweep()
            while len(self._idle) > 1 and self.idle_bytes > MOST_SHARE * (free_bytes + self.idle_bytes):
                self.make_room()

    def drop(self, prefix: Prefix) -> None:
        with self._guard:
            if prefix in self._kept:
                self._kept.remove(prefix)
                self.num_dropped += 1

    def make_room(self) -> bool:
        """Have the one that nobody has used for longest leave the model's memory; False where all are in use."""
        with self._guard:
            self._sweep()
            oldest = next((prefix for prefix in self._idle if prefix.busy.acquire(blocking=False)), None)
            if oldest is None:
                return False
            fits = self._make_room_on_host(oldest.cache.num_bytes)
            if not fits:
                self.drop(oldest)
        try:
            if fits:
                oldest.put_by()
        except (MemoryError, RuntimeError):  # there was none after all
            self.drop(oldest)
        finally:
            oldest.busy.release()
        return True

    def _make_room_on_host(self, num_bytes: int) -> bool:
        """Drop there what nobody has used for longest; whether `num_bytes` fit then."""
        if self._host_free is None:
            return False
        there = [prefix for prefix in self._kept if prefix.is_put_by and not prefix.busy.locked()]
        held = sum(prefix.cache.num_bytes for prefix in there)
        most = MOST_SHARE * (self._host_free() + held)
        while there and held + num_bytes > most:
            oldest = there.pop(0)
            held -= oldest.cache.num_bytes
            self.drop(oldest)
        return held + num_bytes <= most

    def leave(self, chat: object) -> None:
        """`chat` comes back to nothing any more."""
        with self._guard:
            for prefix in self._kept:
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
            here, there = (sum(p.cache.num_bytes for p in self._kept if p.is_put_by is by) for by in (False, True))
            return here, there

    # Two chats that want the same frames at the same time: one reads, the other waits and sees how far it is.

    def begin(self, key: Key) -> Callable[[Progress], None] | None:
        """Begin to read; what is returned takes the progress. None where somebody reads the same already."""
        with self._guard:
            if key in self._being_read:
                return None
            self._being_read[key] = None

        def note(progress: Progress) -> None:
            self._being_read[key] = progress

        return note

    def end(self, key: Key) -> None:
        with self._guard:
            del self._being_read[key]

    def progress(self, key: Key) -> Progress | None:
        """Of the chat that reads it."""
        return self._being_read.get(key)

    @property
    def _idle(self) -> list[Prefix]:
        """In the model's memory, and in nobody's use."""
        return [prefix for prefix in self._kept if not prefix.is_put_by and not prefix.busy.locked()]

    def _sweep(self) -> None:
        """Forget what no chat comes back to; chats that are simply gone count as none."""
        self._kept = [prefix for prefix in self._kept if prefix.chats or prefix.busy.locked()]

    def __len__(self) -> int:
        return len(self._kept)
