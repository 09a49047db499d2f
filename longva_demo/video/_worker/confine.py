"""Confine a worker: it ends with its parent, and its memory and output files are limited."""

import contextlib
import fcntl
import os
import resource
import select
import sys
from pathlib import Path

from longva_demo.video.limits import MIB, DecodeLimits

MAX_WRITTEN_BYTES = MIB  # most workers write nothing but error messages


def die_with_parent(lifeline: int) -> None:
    """Let the kernel end this process when the parent's end of the pipe closes, even during native code.

    Closing the pipe raises SIGIO, whose default action ends the process. A Python thread could not do this while
    native code holds the GIL.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(lifeline, 0)  # POLLHUP is always reported
    if poll.poll(0):
        sys.exit(0)  # the parent ended before we listened


def limit_resources(limits: DecodeLimits, max_written_bytes: int = MAX_WRITTEN_BYTES) -> None:
    """Limit the address space to its present size plus the limit (macOS does not enforce this), and output files."""
    with contextlib.suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        cap = mapped + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_written_bytes, max_written_bytes))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def memory_is_short(limits: DecodeLimits) -> bool:
    """Whether the address space came close to its cap. FFmpeg may report a failed allocation as damaged data."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        cap, _ = resource.getrlimit(resource.RLIMIT_AS)
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak:"))
        return cap != resource.RLIM_INFINITY and cap - peak < max(64 * MIB, limits.memory_bytes // 16)
    return False
