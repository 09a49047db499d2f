"""Space in the storage for files that are arriving, so that several at once do not fill it."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from starlette.concurrency import run_in_threadpool

GRANT_BYTES = 16_000_000  # space is reserved in such steps, as the bytes arrive


class Storage(Protocol):
    """Where uploads are stored."""

    def could_fit(self, num_bytes: int) -> bool:
        """Whether so many bytes would fit if everything was deleted that is not in use."""

    def free_space(self, num_bytes: int) -> int:
        """Delete old uploads until `num_bytes` more fit. Returns how many bytes fit."""


@dataclass(eq=False)
class Reservation:
    """The space of one request's files.

    num_announced: bytes that are still to come, None if unknown.
    num_granted: bytes of the storage that are reserved, without those that have arrived.
    """

    num_announced: int | None = None
    num_granted: int = 0


class Reservations:
    """All reservations in one storage. Add a request's own to `running` while its files arrive."""

    def __init__(self, storage: Storage) -> None:
        self.running: set[Reservation] = set()
        self.storage = storage
        self._reserving = asyncio.Lock()

    async def could_fit(self, num_bytes: int) -> bool:
        return await run_in_threadpool(self.storage.could_fit, num_bytes)

    async def extend(self, own: Reservation) -> bool:
        """Reserve space for the bytes that have arrived, and for some more. False if they do not fit."""
        async with self._reserving:
            others = sum(max(0, other.num_granted) for other in self.running if other is not own)
            needed = -own.num_granted
            wanted = needed + (GRANT_BYTES if own.num_announced is None else min(GRANT_BYTES, own.num_announced))
            space = await run_in_threadpool(self.storage.free_space, others + wanted) - others
            own.num_granted += min(wanted, space)
            return space >= needed
