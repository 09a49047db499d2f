"""Servers forked from a process that has imported everything: imports take most of a server's start. Linux only.

One such process per test process is started on the first use, and ends with it.
"""

import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CAN_FORK = hasattr(os, "pidfd_open")
# The libraries read these when they are imported.
FIXED = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class ForkedProcess:
    """A process that is not a child of this one, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """None while it runs, and -1 afterwards, as its exit code is unknown."""
        return -1 if select.select([self._handle], [], [], 0)[0] else None

    def wait(self, timeout: float) -> None:
        if not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        os.close(self._handle)

    def terminate(self) -> None:
        signal.pidfd_send_signal(self._handle, signal.SIGTERM)

    def kill(self) -> None:
        signal.pidfd_send_signal(self._handle, signal.SIGKILL)


@functools.cache
def preloaded() -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGVA_")} | FIXED
    command = [sys.executable, "-m", "tests.support.preload"]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def fork_server(flags: Sequence[str], environment: dict[str, str], log: Path) -> ForkedProcess:
    """Run `longva-demo serve` with this environment. Its output is appended to `log`."""
    process = preloaded()
    assert process.stdin is not None
    assert process.stdout is not None
    job = {"flags": list(flags), "environment": environment, "log": str(log)}
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return ForkedProcess(int(process.stdout.readline()))


def serve(flags: Sequence[str], environment: dict[str, str], log: str) -> int:
    """In the forked process: become the server."""
    output, nothing = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # found again from TMPDIR
    sys.argv[:] = ["app.py", *flags]
    return main(["serve", *flags])


if __name__ == "__main__":
    import longva_demo.server  # noqa: F401
    from longva_demo.cli.main import main

    for line in sys.stdin:
        # Ended ones stay until the next start, so that their numbers are not used again before somebody notices.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        pid = os.fork()
        if pid == 0:
            sys.exit(serve(**json.loads(line)))
        print(pid, flush=True)
