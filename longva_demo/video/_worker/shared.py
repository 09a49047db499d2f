"""Memory shared by the worker and its parent, which no crash can leak."""

import mmap
import os
import tempfile
from typing import BinaryIO


def anonymous_file() -> BinaryIO:
    """Open an unnamed file, which is passed on by its descriptor.

    A named segment (`multiprocessing.shared_memory`) outlives a killed process until it is unlinked, and uses
    /dev/shm, which is often limited to 64 MB in containers. This file disappears with its last descriptor.
    """
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("longva-frames"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


class Ring:
    """A ring of equally sized slots of shared memory, created by the parent and filled by the worker."""

    def __init__(self, descriptor: int, num_slots: int, slot_bytes: int) -> None:
        self.num_slots = num_slots
        self.slot_bytes = slot_bytes
        self._map = mmap.mmap(descriptor, num_slots * slot_bytes)

    def slot(self, number: int) -> memoryview:
        assert 0 <= number < self.num_slots, number
        return memoryview(self._map)[number * self.slot_bytes : (number + 1) * self.slot_bytes]

    def close(self) -> None:
        self._map.close()
