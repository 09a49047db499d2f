"""The use of cached prefixes, by chats and by the needle test."""

from longva_demo.chat.budget import TEXT_TOKENS
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.local_engine import LocalEngine
from longva_demo.chat.prefix_cache import CachedPrefix, Key
from longva_demo.chat.turn import CacheStatus
from longva_demo.errors import BudgetError


class PrefixLease:
    """Its owner's use of one cached prefix at a time.

    Between `acquire` or `hold`, and `release`, the KV cache is the owner's alone. Afterwards the prefix stays cached
    for the owner to return to, until it is evicted or the lease is closed.
    """

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._prefix_cache = engine.prefix_cache
        self._held: CachedPrefix | None = None

    @property
    def held(self) -> CachedPrefix:
        """The prefix in use."""
        assert self._held is not None, "acquire the lease first"
        return self._held

    @property
    def evictable_bytes(self) -> int:
        """Bytes on the model's device that a new cache may evict."""
        return self._prefix_cache.idle_bytes

    def find(self, key: Key) -> CachedPrefix | None:
        """The cached prefix of `key`, if possible one with the owner's own turns."""
        return self._prefix_cache.lookup(key, self)

    def acquire(self, prefix: CachedPrefix, num_frames: int, wait: bool = False) -> CacheStatus | None:
        """Use `prefix`, of `num_frames` frames, without the turns of others; an offloaded one is moved back.

        None if it is in use, unless `wait` is set.

        Raises:
            BudgetError: an offloaded prefix does not fit on the model's device any more; it is dropped.
        """
        if not prefix.busy.acquire(blocking=wait):
            return None
        was_offloaded = prefix.is_offloaded
        if was_offloaded:
            self._engine.evict_for(num_frames)
            try:
                self._engine.restore(prefix, self._capacity(num_frames))
            except BudgetError:
                self._prefix_cache.remove(prefix)
                prefix.busy.release()
                raise
        prefix.assign(self)
        self._hold(prefix)
        return CacheStatus.RESTORED if was_offloaded else CacheStatus.HIT

    def new_cache(self, num_frames: int) -> GrowingCache:
        """An empty cache for `num_frames` frames and some text. Evicts idle prefixes for it."""
        self._engine.evict_for(num_frames)
        return self._engine.new_cache(self._capacity(num_frames))

    def copy_of(self, prefix: CachedPrefix, num_frames: int) -> GrowingCache:
        """A cache with a copy of `prefix`, which may be in use, without the turns after it."""
        return self._engine.copy_cache(prefix.cache, prefix.num_tokens, self._capacity(num_frames))

    def hold(self, key: Key, cache: GrowingCache) -> None:
        """Insert what `cache` contains as the prefix of `key`, and use it."""
        prefix = CachedPrefix(key, cache, self)
        prefix.busy.acquire()
        self._hold(prefix)

    def truncate(self, key: Key, num_tokens: int) -> None:
        """Drop all but the first `num_tokens` tokens of the owner's turns from the idle prefixes of `key`."""
        for prefix in self._prefix_cache.entries_of(self):
            if prefix.key == key and prefix.busy.acquire(blocking=False):
                # A prefix that another chat uses, or has used since, holds nothing of this one.
                if prefix.has_turns_of(self):
                    prefix.cache.truncate(min(prefix.cache.get_seq_length(), prefix.num_tokens + num_tokens))
                prefix.busy.release()

    def release(self) -> None:
        """Let others use the prefix."""
        if self._held is not None:
            self._held.busy.release()
            self._held = None

    def drop(self) -> None:
        """Remove the prefix in use, if any, from the prefix cache."""
        if self._held is not None:
            self._prefix_cache.remove(self._held)

    def close(self) -> None:
        """Free all prefixes that no other chat returns to."""
        self._prefix_cache.forget(self)

    def _hold(self, prefix: CachedPrefix) -> None:
        self._held = prefix
        self._prefix_cache.insert(prefix, self, self._engine.meter(0).free_bytes or 0)

    def _capacity(self, num_frames: int) -> int:
        """Tokens to allocate; a cache grows past them."""
        return self._engine.meter(num_frames).num_tokens + TEXT_TOKENS
