"""The parent's side of the worker: start it, hear from it within the limits, and be rid of it for certain."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from longva_demo.errors import VideoError
from longva_demo.video._worker.shared import anonymous_file
from longva_demo.video._worker.wire import Message, decode, encode
from longva_demo.video.limits import MIB, DecodeLimits

PACKAGE_ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30.0  # a worker starts in 0.3 s; on a machine that is out of breath, in several
CONVERT = "convert it to an MP4 with H.264 video and try again"


class WorkerProcess:
    """One `longva_demo.video._worker.main` process, serving one request; leaving the `with` block kills it.

    It is a fresh interpreter, neither forked (the parent has threads and perhaps a GPU) nor spawned by
    `multiprocessing` (which would import the caller's `__main__` again). If the parent dies, the worker hears
    that on its lifeline pipe and ends, even in the middle of a native loop.
    """

    def __init__(
        self, name: str, request: Message, payload: bytes, limits: DecodeLimits, ring: BinaryIO | None = None
    ) -> None:
        self.name = name
        self.limits = limits
        self._remedy = "choose fewer frames or a shorter range" if request["task"] == "decode" else CONVERT
        self._remedy += ", or raise the time limit"
        self._waited_seconds = 0.0
        self._patience = max(limits.stall_seconds, START_SECONDS)
        self._received = bytearray()
        self._errors = anonymous_file()
        release_end, self._release = os.pipe()
        lifeline_end, self._lifeline = os.pipe()
        with anonymous_file() as request_file:
            request_file.write(encode(request, payload))
            request_file.seek(0)
            ring_fd = -1 if ring is None else ring.fileno()
            passed = [request_file.fileno(), release_end, lifeline_end, *([] if ring is None else [ring_fd])]
            numbers = [request_file.fileno(), ring_fd, release_end, lifeline_end]
            try:
                self._process = self._start(numbers, passed)
            except OSError as error:
                self._close_pipes()
                raise VideoError(f"the decoder could not be started ({error})", "free some memory") from error
            finally:
                os.close(release_end)
                os.close(lifeline_end)
        assert self._process.stdout is not None
        self._messages = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._messages, select.POLLIN | select.POLLHUP)

    def _start(self, numbers: list[int], passed: list[int]) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "longva_demo.video._worker.main", *map(str, numbers)]
        paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",  # an arena a thread would waste tens of MB
        }
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors.fileno(),
            pass_fds=passed,
            env=environment,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the worker
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def receive(self) -> tuple[Message, bytes]:
        """Wait for the next message that is more than a sign of life.

        Raises:
            VideoError: the worker reported one, is out of time, stalled, crashed or was killed.
        """
        heard = time.monotonic()
        while True:
            try:
                decoded = decode(self._received)
            except ValueError as error:
                raise VideoError(f"{self.name}: the decoder went wrong ({error})", CONVERT) from error
            if decoded is None:
                self._read_some(heard)
                continue
            heard = time.monotonic()
            self._patience = self.limits.stall_seconds
            message, payload = decoded
            if message["kind"] == "error":
                raise VideoError(message["message"], message["remedy"])
            if message["kind"] != "alive":
                return message, payload

    def release(self, slot: int) -> None:
        """Tell the worker that a slot of the ring may be written again."""
        with contextlib.suppress(BrokenPipeError):  # it has ended; the next receive() says how
            os.write(self._release, bytes([slot]))

    def _read_some(self, heard: float) -> None:
        """Wait up to a second for bytes, and count the time waited."""
        began = time.monotonic()
        ready = self._poll.poll(1000)
        now = time.monotonic()
        self._waited_seconds += now - began
        if ready:
            data = os.read(self._messages, MIB)
            if not data:
                raise self._how_it_ended()
            self._received += data
        elif now - heard > self._patience:
            message = f"{self.name}: the decoder hung for {self.limits.stall_seconds:g} s and was stopped"
            raise VideoError(message, CONVERT)
        if self._waited_seconds > self.limits.timeout_seconds:
            message = f"{self.name}: decoding took more than {self.limits.timeout_seconds:g} s and was stopped"
            raise VideoError(message, self._remedy)

    def _how_it_ended(self) -> VideoError:
        code = self._process.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        last_words = self._errors.read().decode(errors="replace").strip()
        if "bad_alloc" in last_words or "MemoryError" in last_words or "Cannot allocate" in last_words:
            return memory_error(self.name, self.limits)
        if code == -signal.SIGKILL:
            return VideoError(
                f"{self.name}: the decoder process was killed",
                "try again; if it happens again, the machine may be out of memory: choose a smaller video",
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        line = last_words.splitlines()[-1][:200] if last_words else ""
        return VideoError(f"{self.name}: the decoder crashed ({how}{': ' if line else ''}{line})", CONVERT)

    def close(self) -> None:
        """Kill the worker, wait for its end (no zombie), and free what it shared; a second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for descriptor in (self._release, self._lifeline):
            if descriptor >= 0:
                os.close(descriptor)
        self._release = self._lifeline = -1
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def memory_error(name: str, limits: DecodeLimits) -> VideoError:
    return VideoError(
        f"{name}: decoding needs more than the {limits.memory_bytes / MIB:.0f} MB of memory allowed",
        "raise the memory limit, or convert the video to a smaller size",
    )
