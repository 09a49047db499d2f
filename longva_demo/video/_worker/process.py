"""The parent's handle on a worker process: start it, receive its messages within the limits, kill it reliably."""

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from longva_demo.errors import VideoError
from longva_demo.quotas import CLIENT, DECODERS, QuotaError
from longva_demo.video._worker.forks import START_SECONDS, ForkedProcess, fork
from longva_demo.video._worker.shared import anonymous_file
from longva_demo.video._worker.wire import Message, decode, encode
from longva_demo.video.limits import MIB, DecodeLimits

TURN_SECONDS = 120.0
LOW_PRIORITY = 10  # as for `nice`: about a tenth of the CPU time of another client's worker
CONVERT = "convert it to an MP4 with H.264 video and try again"
SAVE_AGAIN = "save it as a smaller PNG or JPEG and try again"


@dataclass(frozen=True)
class Role:
    """What a worker is for, as its errors say it, and what they advise."""

    name: str = "decoder"
    work: str = "decoding"
    remedy: str = CONVERT


PICTURE = Role(remedy=SAVE_AGAIN)


class WorkerProcess:
    """A worker (main.py) that serves one request. Leaving the `with` block kills it.

    The fork server forks it: this process cannot, since it has threads and perhaps a GPU, and `multiprocessing` would
    import the caller's `__main__` again. If this process dies, its end of the lifeline pipe closes and the worker ends,
    even in the middle of native code.
    """

    def __init__(
        self,
        name: str,
        request: Message,
        payload: bytes,
        limits: DecodeLimits,
        ring: BinaryIO | None = None,
        role: Role | None = None,
    ) -> None:
        self.name = name
        self.limits = limits
        self.task = request["task"]
        self._client = CLIENT.get()
        self._role = role or (PICTURE if self.task == "picture" else Role())
        self._who = f"{name}: the {self._role.name}"
        self._remedy = self._role.remedy
        self._waited_seconds = 0.0
        self._stall_seconds = max(limits.stall_seconds, START_SECONDS)
        self._buffer = bytearray()
        self._errors = anonymous_file()
        self._messages, messages_end = os.pipe()
        release_end, self._release = os.pipe()
        lifeline_end, self._lifeline = os.pipe()
        with anonymous_file() as request_file:
            request_file.write(encode(request, payload))
            request_file.seek(0)
            passed = [messages_end, self._errors.fileno(), request_file.fileno(), release_end, lifeline_end]
            try:
                self._process = self._start_in_turn(passed if ring is None else [*passed, ring.fileno()])
            except QuotaError:
                self._close_pipes()
                raise
            except OSError as error:
                self._close_pipes()
                raise VideoError(f"cannot start the {self._role.name} ({error})", "free some memory") from error
            finally:
                for descriptor in (messages_end, release_end, lifeline_end):
                    os.close(descriptor)
        self._poll = select.poll()
        self._poll.register(self._messages, select.POLLIN | select.POLLHUP)

    def _start_in_turn(self, descriptors: list[int]) -> ForkedProcess:
        """Wait until the client may have one more worker. Those after its first have a low priority."""
        num_workers = DECODERS.acquire(self._client, TURN_SECONDS)
        try:
            process = fork(descriptors)
        except BaseException:
            DECODERS.release(self._client)
            raise
        if num_workers > 1:
            with contextlib.suppress(OSError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, process.pid, LOW_PRIORITY)
        return process

    @property
    def pid(self) -> int:
        return self._process.pid

    def receive(self) -> tuple[Message, bytes]:
        """Wait for the next message that is not a heartbeat.

        Raises:
            VideoError: the worker reported an error, exceeded the time limit, stalled, crashed or was killed.
        """
        last_message_at = time.monotonic()
        while True:
            try:
                decoded = decode(self._buffer)
            except ValueError as error:
                raise VideoError(f"{self._who} sent an invalid message ({error})", self._remedy) from error
            if decoded is None:
                self._read_some(last_message_at)
                continue
            last_message_at = time.monotonic()
            self._stall_seconds = self.limits.stall_seconds
            message, payload = decoded
            if message["kind"] == "error":
                raise VideoError(message["message"], message["remedy"])
            if message["kind"] != "heartbeat":
                return message, payload

    def release(self, slot: int) -> None:
        """Tell the worker that it may overwrite a slot of the ring."""
        with contextlib.suppress(BrokenPipeError):  # it has ended; the next receive() reports why
            os.write(self._release, bytes([slot]))

    def _read_some(self, last_message_at: float) -> None:
        """Wait up to one second for bytes, and add up the waiting time."""
        start = time.monotonic()
        ready = self._poll.poll(1000)
        now = time.monotonic()
        self._waited_seconds += now - start
        if ready:
            data = os.read(self._messages, MIB)
            if not data:
                raise self._exit_error()
            self._buffer += data
        elif now - last_message_at > self._stall_seconds:
            message = f"{self._who} hung for {self.limits.stall_seconds:g} s and was stopped"
            raise VideoError(message, self._remedy)
        if self._waited_seconds > self.limits.timeout_seconds:
            message = (
                f"{self.name}: {self._role.work} took longer than {self.limits.timeout_seconds:g} s and was stopped"
            )
            remedy = "choose fewer frames or a shorter range" if self.task == "decode" else self._remedy
            raise VideoError(message, remedy if self.task == "picture" else f"{remedy}, or raise the time limit")

    def _exit_error(self) -> VideoError:
        code = self._process.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        stderr_tail = self._errors.read().decode(errors="replace").strip()
        if "bad_alloc" in stderr_tail or "MemoryError" in stderr_tail or "Cannot allocate" in stderr_tail:
            return memory_error(self.name, self.limits, self.task)
        if code == -signal.SIGKILL:
            return VideoError(
                f"{self._who} process was killed",
                "try again; if this repeats, the machine may be out of memory: choose a smaller video",
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        line = stderr_tail.splitlines()[-1][:200] if stderr_tail else ""
        return VideoError(f"{self._who} crashed ({how}{': ' if line else ''}{line})", self._remedy)

    def close(self) -> None:
        """Kill the worker, reap it, and close the pipes. A second call does nothing."""
        if self._release < 0:
            return
        self._process.kill()
        self._close_pipes()
        DECODERS.release(self._client)

    def _close_pipes(self) -> None:
        for descriptor in (self._messages, self._release, self._lifeline):
            os.close(descriptor)
        self._release = self._lifeline = -1
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def memory_error(name: str, limits: DecodeLimits, task: str) -> VideoError:
    smaller = "scale the picture down" if task == "picture" else "convert the video to a smaller size"
    return VideoError(
        f"{name}: decoding needs more than the {limits.memory_bytes / MIB:.0f} MB of memory allowed",
        f"raise the memory limit, or {smaller}",
    )
