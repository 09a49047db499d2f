"""What was read before: prefixes that a chat may come back to, kept for as long as there is room."""

from dataclasses import dataclass

from longva_demo.chat.cache import GrowingCache

# Prefixes kept beside the present one, and their share of the memory that would be free without them.
MOST_PREFIXES = 3
MOST_SHARE = 0.25


@dataclass(frozen=True)
class Prefix:
    """Header and frames in the model's cache; `key` says which frames and which model."""

    key: tuple[object, ...]
    cache: GrowingCache


class Shelf:
    """The last prefixes, oldest first."""

    def __init__(self) -> None:
        self._prefixes: list[Prefix] = []

    def put(self, prefix: Prefix, free_bytes: int) -> None:
        """Keep `prefix`, and as many of the others as the bounds allow."""
        self._prefixes.append(prefix)
        room = MOST_SHARE * (free_bytes + self.num_bytes)
        while len(self) > MOST_PREFIXES or self.num_bytes > room:
            self.drop_oldest()

    def take(self, key: tuple[object, ...]) -> Prefix | None:
        """The prefix of `key`, which leaves the shelf."""
        found = next((prefix for prefix in self._prefixes if prefix.key == key), None)
        if found is not None:
            self._prefixes.remove(found)
        return found

    def drop_oldest(self) -> None:
        del self._prefixes[0]

    def clear(self) -> None:
        self._prefixes.clear()

    @property
    def num_bytes(self) -> int:
        return sum(prefix.cache.num_bytes for prefix in self._prefixes)

    def __len__(self) -> int:
        return len(self._prefixes)
