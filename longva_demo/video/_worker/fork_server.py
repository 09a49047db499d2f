"""The fork server: `python -m longva_demo.video._worker.fork_server SOCKET`. `forks.py` starts it and talks to it.

It has imported what a worker needs, and forks a worker for each request, which takes a hundredth of a second instead of
a third. It has one thread, so that forking is safe, and opens no video itself.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import traceback

from longva_demo.video._worker.main import main
from longva_demo.video._worker.wire import NUMBER

with contextlib.suppress(ImportError):  # the worker imports it again, and reports the error
    from longva_demo.video._ffmpeg import animation, frames, indexing, pictures, preview_file  # noqa: F401

MAX_DESCRIPTORS = 8


class ForkServer:
    """Forks a worker for each message on `requests`: one byte, and the worker's file descriptors.

    The first is the worker's control socket, then come standard output and error, and the arguments of `main`. Its
    process id is sent on the control socket (an error number below zero if there is none), and later its exit code.
    When the other end of a control socket is closed, the worker is killed.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._workers: dict[int, socket.socket] = {}  # control sockets by process id
        self._ended, self._wakeup = socket.socketpair()
        self._events = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until the other end of `requests` is closed, then kill the workers."""
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for readable in (self._requests, self._ended):
            self._events.register(readable, selectors.EVENT_READ)
        is_wanted = True
        while is_wanted:
            for key, _ in self._events.select():
                if key.fileobj is self._requests:
                    _, descriptors, _, _ = socket.recv_fds(self._requests, 1, MAX_DESCRIPTORS)
                    is_wanted = bool(descriptors)
                    if descriptors:
                        self._fork(*descriptors)
                elif key.fileobj is self._ended:
                    self._ended.recv(64)
                    self._reap()
                elif key.data in self._workers:
                    self._events.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)  # it has not been reaped, so the id is still its own
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)

    def _fork(self, control_end: int, *descriptors: int) -> None:
        control = socket.socket(fileno=control_end)
        try:
            pid = os.fork()
        except OSError as error:
            send(control, -(error.errno or 1))
            control.close()
        else:
            if pid == 0:
                self._run_worker(control, *descriptors)
            self._workers[pid] = control
            self._events.register(control, selectors.EVENT_READ, pid)
            send(control, pid)
        for descriptor in descriptors:
            os.close(descriptor)

    def _run_worker(self, control: socket.socket, output: int, errors: int, *arguments: int) -> None:
        """In the new process. It never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._events.close()
            for inherited in (self._requests, self._ended, self._wakeup, control, *self._workers.values()):
                inherited.close()
            for descriptor, number in ((output, 1), (errors, 2)):
                os.dup2(descriptor, number)
                os.close(descriptor)
            main(*arguments)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Send the exit codes of the workers that have ended."""
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            control = self._workers.pop(pid)
            with contextlib.suppress(KeyError):  # killed because the control socket was closed
                self._events.unregister(control)
            send(control, os.waitstatus_to_exitcode(status))
            control.close()


def send(control: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody waits for it
        control.sendall(NUMBER.pack(number))


if __name__ == "__main__":
    ForkServer(socket.socket(fileno=int(sys.argv[1]))).run()
