"""Workers, started by the fork server of this process, which is started when it is first needed."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from longva_demo.video._worker.wire import NUMBER

PACKAGE_ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30.0  # the fork server starts in 0.4 s; on an overloaded machine, in several seconds


class ForkedProcess:
    """A process that the fork server has forked, and waits for."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control

    def wait(self) -> int:
        """Wait for its end. Returns the exit code, or minus the number of the signal that ended it.

        If the fork server was killed, nobody learns it; then it is that of SIGKILL.
        """
        code = receive(self._control)
        return -signal.SIGKILL if code is None else code

    def kill(self) -> None:
        """Kill it, unless it has ended, and wait until it is gone."""
        with contextlib.suppress(OSError):  # the fork server has ended
            self._control.shutdown(socket.SHUT_WR)
        self.wait()
        self._control.close()


class Connection:
    """The connection to a fork server."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._requests, theirs = socket.socketpair()
        paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",  # one arena per thread would waste tens of MB
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "longva_demo.video._worker.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
                # Ctrl-C goes to this process only, which then ends the workers. In a session of their own, their nice
                # values would count for nothing: Linux gives each session the same share of the processor.
                process_group=0,
            )

    def fork(self, descriptors: Sequence[int]) -> ForkedProcess | None:
        """Fork a worker; None if the fork server has ended. Raises OSError if it cannot."""
        control, theirs = socket.socketpair()
        control.settimeout(START_SECONDS)
        try:
            with theirs:
                socket.send_fds(self._requests, [b"f"], [theirs.fileno(), *descriptors])
            pid = receive(control)
            if pid is not None and pid < 0:
                raise OSError(-pid, os.strerror(-pid))
        except BaseException as error:
            control.close()
            if isinstance(error, ConnectionError):
                return None
            raise
        control.settimeout(None)
        return None if pid is None else ForkedProcess(pid, control)

    def close(self) -> None:
        self._requests.close()
        if self.owner == os.getpid():
            self._process.wait()


def receive(control: socket.socket) -> int | None:
    """The next number; None if the other end is closed."""
    try:
        data = control.recv(NUMBER.size)
    except ConnectionError:
        return None
    return NUMBER.unpack(data)[0] if data else None


lock = threading.Lock()
connections: list[Connection] = []  # of this process: none, or one


def connect() -> Connection:
    """The connection to this process's fork server, which is started if there is none."""
    with lock:
        if not connections or connections[0].owner != os.getpid():
            connections[:] = [Connection()]
        return connections[0]


def disconnect(connection: Connection) -> None:
    """End a fork server."""
    with lock:
        if connection in connections:
            connections.remove(connection)
            connection.close()


@atexit.register
def disconnect_all() -> None:
    for connection in list(connections):
        disconnect(connection)


def start_fork_server() -> None:
    """Start it before it is needed."""
    connect()


def fork(descriptors: Sequence[int]) -> ForkedProcess:
    """Fork a worker with these descriptors: standard output and error, and the arguments of its `main`.

    Raises:
        OSError: there is no memory for another process, or there are too many.
    """
    for _ in range(2):
        connection = connect()
        process = connection.fork(descriptors)
        if process is not None:
            return process
        disconnect(connection)  # something has killed it
    raise OSError("the process that starts it has ended twice")
