"""What was read, for all chats of an engine: prefixes in the model's cache, shared by chats about the same frames.

A prefix is header and frames. Behind it in the same cache stand the turns of the chat that worked with it last; for
another one they are cut off and its own are fed, few tokens. Chats that answer at the same moment need a copy each.
"""

import threading
from collections.abc import Callable
from weakref import WeakSet, ref

from longva_demo.chat.cache import GrowingCache
from longva_demo.chat.turn import Progress

# Prefixes that one chat can come back to, the present one among them.
MOST_OF_A_CHAT = 4
# Idle ones may take this share of the memory that would be free without them; the newest is kept all the same.
MOST_SHARE = 0.5
Key = tuple[object, ...]


class Prefix:
    """`key` says which frames and which model. Whoever holds `busy` may use the cache; `chats` may come back to it."""

    def __init__(self, key: Key, cache: GrowingCache, chat: object) -> None:
        self.key, self.cache = key, cache
        self.num_tokens = cache.get_seq_length()
        self.chats: WeakSet[object] = WeakSet([chat])
        self.busy = threading.Lock()
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


class Prefixes:
    """All that is kept, least recently used first. Each is kept for as long as a chat may come back to it."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._kept: list[Prefix] = []
        self._being_read: dict[Key, Progress | None] = {}

    def find(self, key: Key, chat: object) -> Prefix | None:
        """Rather the one with this chat's turns than an idle one, rather an idle one than one that is in use."""
        with self._guard:
            found = [prefix for prefix in self._kept if prefix.key == key]
            return max(found, key=lambda prefix: (prefix.is_of(chat), not prefix.busy.locked()), default=None)

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
                self.drop_oldest()

    def drop(self, prefix: Prefix) -> None:
        with self._guard:
            if prefix in self._kept:
                self._kept.remove(prefix)

    def drop_oldest(self) -> bool:
        """Drop the one that nobody has used for longest; False where all are in use."""
        with self._guard:
            idle = self._idle
            if idle:
                self._kept.remove(idle[0])
            return bool(idle)

    def leave(self, chat: object) -> None:
        """`chat` comes back to nothing any more."""
        with self._guard:
            for prefix in self._kept:
                prefix.chats.discard(chat)
            self._sweep()

    @property
    def idle_bytes(self) -> int:
        """What dropping could free."""
        with self._guard:
            self._sweep()
            return sum(prefix.cache.num_bytes for prefix in self._idle)

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
        return [prefix for prefix in self._kept if not prefix.busy.locked()]

    def _sweep(self) -> None:
        """Forget what no chat comes back to; chats that are simply gone count as none."""
        self._kept = [prefix for prefix in self._kept if prefix.chats or prefix.busy.locked()]

    def __len__(self) -> int:
        return len(self._kept)
