"""Python programs forked from a process that has imported everything: imports take most of a start. Linux only.

One such process serves all workers of a test run. The first use starts it, and it ends with the last worker.
"""

import functools
import json
import os
import random
import resource
import runpy
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

REPOSITORY = Path(__file__).parents[2]
CAN_FORK = hasattr(os, "pidfd_open")
# The libraries read these when they are imported.
FIXED = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class ForkedProcess:
    """A process that is not a child of this one, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None and select.select([self._handle], [], [], 0)[0]:
            self._code = ask_preloaded({"ended": self.pid})
            os.close(self._handle)
        return self._code

    def wait(self, timeout: float = 60) -> int:
        if self._code is None:
            select.select([self._handle], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def preloaded() -> TextIO:
    """A connection to the process, which is started if no worker has done so."""
    run_id = os.environ.get("PYTEST_XDIST_TESTRUNUID", os.getpid())
    name = f"longva-demo-tests-{run_id}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGVA_")} | FIXED
    command = [sys.executable, "-m", "tests.support.preload", name]
    connection, process = socket.socket(socket.AF_UNIX), None
    while connection.connect_ex(f"\0{name}"):
        if process is None or process.poll() is not None:
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        time.sleep(0.05)
    return connection.makefile("rw")


def ask_preloaded(job: dict[str, object]) -> int:
    stream = preloaded()
    stream.write(json.dumps(job) + "\n")
    stream.flush()
    return int(stream.readline())


def fork(
    module: str, arguments: Sequence[str], environment: dict[str, str], output: Path, max_file_bytes: int = 0
) -> ForkedProcess:
    """Run `python -m module` with this environment. What it prints is appended to the file `output`."""
    start = {"module": module, "arguments": list(arguments), "environment": environment, "output": str(output)}
    return ForkedProcess(ask_preloaded({"start": start | {"max_file_bytes": max_file_bytes}}))


def run(module: str, arguments: Sequence[str], environment: dict[str, str], output: str, max_file_bytes: int) -> None:
    """In the forked process: become the program."""
    from longva_demo.server import stale_tab

    written, nothing = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(source, target)
    if max_file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # found again from TMPDIR
    random.seed()
    stale_tab.SERVER = secrets.token_hex(8)  # drawn when it is imported
    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve(listener: socket.socket) -> None:
    """Start processes, and tell how they ended, until the last client has left."""
    clients: dict[socket.socket, TextIO] = {}
    while True:
        for ready in select.select([listener, *clients], [], [])[0]:
            if ready is listener:
                client, _ = listener.accept()
                clients[client] = client.makefile("rw")
                continue
            line = clients[ready].readline()
            if not line:
                clients.pop(ready).close()
                ready.close()
                if not clients and not select.select([listener], [], [], 0)[0]:
                    return
                continue
            job = json.loads(line)
            if "ended" in job:
                reply = os.waitstatus_to_exitcode(os.waitpid(job["ended"], 0)[1])
            else:
                reply = os.fork()
                if reply == 0:
                    for stream in clients.values():
                        stream.close()
                    for one in (listener, *clients):
                        one.close()
                    run(**job["start"])
                    return
            clients[ready].write(f"{reply}\n")
            clients[ready].flush()


def main() -> None:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"\0{sys.argv[1]}")
    except OSError:  # another worker was first
        return
    listener.listen()
    import longva_demo.server  # noqa: F401

    serve(listener)


if __name__ == "__main__":
    main()
