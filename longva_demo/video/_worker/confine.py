"""What keeps a worker in its bounds: it ends with its parent, and takes no more memory than allowed."""

import contextlib
import fcntl
import os
import resource
import select
import sys
from pathlib import Path

from longva_demo.video.limits import MIB, DecodeLimits

MAX_WRITTEN_BYTES = MIB  # to files: most workers have nothing to write but their last words


def die_with_parent(lifeline: int) -> None:
    """Have the kernel end this process when the parent's end of the pipe closes, whatever runs then.

    The pipe's hang-up raises SIGIO, whose default action ends the process; a Python thread could not run while
    a native loop holds the interpreter's lock.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(lifeline, 0)  # a hang-up is always reported
    if poll.poll(0):
        sys.exit(0)  # it went before we listened


def limit_resources(limits: DecodeLimits, max_written_bytes: int = MAX_WRITTEN_BYTES) -> None:
    """Cap the address space at what is mapped now plus the limit (macOS does not enforce this), and files written."""
    with contextlib.suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = mapped + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_written_bytes, max_written_bytes))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def memory_is_short(limits: DecodeLimits) -> bool:
    """Whether the address space has come near its cap: FFmpeg may report a failed allocation as damaged data."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        cap, _ = resource.getrlimit(resource.RLIMIT_AS)
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak:"))
        return cap != resource.RLIM_INFINITY and cap - peak < max(64 * MIB, limits.memory_bytes // 16)
    return False
