"""A worker that is killed, hangs, crashes or exceeds a limit causes one clear error, and the next video works."""

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, FrameBatch, VideoInfo, decode_frames, plan_frames, probe
from longva_demo.video._worker.forks import start_fork_server
from longva_demo.video._worker.process import WorkerProcess
from tests.video.clips import read_number, write_clip

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
SMALL_CHUNKS = DecodeLimits(chunk_bytes=3 * 320 * 240 * 3)  # one frame per batch: the worker must wait for us
pytestmark = pytest.mark.usefixtures("open_files")


@pytest.fixture(scope="module")
def info(plain_clip: Path) -> VideoInfo:
    return probe(plain_clip)


def start(info: VideoInfo, limits: DecodeLimits = SMALL_CHUNKS, budget: int = 60) -> tuple[Iterator[FrameBatch], int]:
    """Start decoding. Returns the iterator after its first batch, and the worker's process id."""
    batches = iter(decode_frames(info.path, plan_frames(info, budget), info=info, limits=limits))
    before = set(children())
    next(batches)
    (pid,) = set(children()) - before
    return batches, pid


def children() -> list[int]:
    """The workers of this process: children of its fork server."""
    start_fork_server()
    return [worker for server in fork_servers() for worker in children_of(server)]


def children_of(pid: int | str) -> list[int]:
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def fork_servers() -> list[int]:
    """Those of this process, whose other children may start and end servers for other tests at any time."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of("self")}
    return [pid for pid, command in commands.items() if b"fork_server" in command]


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def works(info: VideoInfo) -> bool:
    batches = decode_frames(info.path, plan_frames(info, 3), info=info)
    return [read_number(picture) for batch in batches for picture in batch.pixels] == [0, 59, 119]


def test_killed_worker(info: VideoInfo) -> None:
    batches, pid = start(info)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(VideoError, match=r"plain.mp4: the decoder process was killed; try again"):
        list(batches)
    assert not is_alive(pid)
    assert works(info)


def test_crashed_worker(info: VideoInfo) -> None:
    batches, pid = start(info)
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(VideoError, match=r"the decoder crashed \(signal SIGSEGV\); convert it"):
        list(batches)
    assert works(info)


def test_hung_worker(info: VideoInfo) -> None:
    """A stopped process sends no heartbeat, like one in an endless native loop."""
    limits = DecodeLimits(chunk_bytes=SMALL_CHUNKS.chunk_bytes, stall_seconds=2.0)
    batches, pid = start(info, limits)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(VideoError, match=r"the decoder hung for 2 s and was stopped; convert it"):
        list(batches)
    assert time.monotonic() - started < 20
    assert not is_alive(pid)
    assert works(info)


def test_time_limit(info: VideoInfo) -> None:
    with pytest.raises(VideoError, match=r"decoding took longer than 0.001 s and was stopped; choose fewer frames"):
        list(decode_frames(info.path, plan_frames(info, 8), info=info, limits=DecodeLimits(timeout_seconds=0.001)))
    with pytest.raises(VideoError, match="took longer than"):
        probe(info.path, DecodeLimits(timeout_seconds=0.001))
    assert works(info)


def test_time_of_the_consumer_does_not_count(info: VideoInfo) -> None:
    """A slow model is not a hung decoder."""
    limits = DecodeLimits(chunk_bytes=SMALL_CHUNKS.chunk_bytes, timeout_seconds=20.0, stall_seconds=2.0)
    batches, _ = start(info, limits, budget=6)
    time.sleep(2.5)
    assert sum(len(batch) for batch in batches) == 5


def test_memory_limit(clips: Path) -> None:
    """A 2560 × 1440 video in a worker that may use 8 MB more."""
    path = write_clip(clips / "large.mp4", 4, size=(2560, 1440), options={"preset": "ultrafast"})
    with pytest.raises(VideoError, match="needs more than the 8 MB of memory allowed; raise the memory limit"):
        probe(path, DecodeLimits(memory_bytes=8 * MIB))
    large = probe(path)
    with pytest.raises(VideoError, match="needs more than the 8 MB of memory allowed"):
        list(decode_frames(path, plan_frames(large, 4), info=large, limits=DecodeLimits(memory_bytes=8 * MIB)))
    assert sum(len(batch) for batch in decode_frames(path, plan_frames(large, 4), info=large)) == 4


def test_closing_ends_the_worker(info: VideoInfo) -> None:
    batches, pid = start(info)
    batches.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{pid}").exists()  # not even a zombie
    assert works(info)


def test_garbage_collection_ends_the_worker(info: VideoInfo) -> None:
    batches, pid = start(info)
    del batches
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()


def test_error_in_the_consumer_ends_the_worker(info: VideoInfo) -> None:
    batches, pid = start(info)

    def read() -> None:
        for _ in batches:
            raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError):
        read()
    batches.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("stopped", [False, True], ids=["waiting", "busy"])
def test_worker_ends_with_its_parent(info: VideoInfo, stopped: bool) -> None:
    """The parent is killed while its worker waits for a free slot, or is in native code."""
    hold = "os.kill(pid, signal.SIGSTOP)" if stopped else ""
    script = f"""
        import os, signal, time
        from tests.video.test_worker import *
        batches, pid = start(probe({str(info.path)!r}))
        {hold}
        print(pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    if stopped:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_the_fork_server_ends_with_its_parent_and_takes_its_workers_along(info: VideoInfo) -> None:
    """The worker is stopped, so that only SIGKILL can end it."""
    script = f"""
        import os, signal, time
        from tests.video.test_worker import *
        batches, worker = start(probe({str(info.path)!r}))
        os.kill(worker, signal.SIGSTOP)
        print(worker, *children_of("self"), flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_a_fork_server_that_was_killed_is_started_again(info: VideoInfo) -> None:
    batches, _ = start(info)
    (server,) = fork_servers()
    os.kill(server, signal.SIGKILL)
    assert works(info)
    assert fork_servers() not in ([], [server])
    assert sum(len(batch) for batch in batches) == 59  # a worker that was running goes on


def test_ctrl_c_does_not_reach_a_worker_and_its_nice_value_counts(info: VideoInfo) -> None:
    """Signals of a terminal go to a process group; nice values are compared within a session (man 7 sched)."""
    batches, pid = start(info)
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) == os.getsid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    batches.close()  # type: ignore[attr-defined]


def test_a_fork_of_this_process_has_a_fork_server_of_its_own(info: VideoInfo) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if works(info) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert works(info)


def test_decodes_leak_nothing(info: VideoInfo) -> None:
    """No process, thread, shared memory or descriptor (see the fixture) is left, and no resource tracker is started."""
    shared = Path("/dev/shm")
    threads = threading.active_count()
    before = (set(children()), set(shared.iterdir()) if shared.is_dir() else set())
    for _ in range(4):
        assert works(info)
    assert (set(children()), set(shared.iterdir()) if shared.is_dir() else set()) == before
    assert threading.active_count() == threads
    assert not multiprocessing.active_children()


def test_two_at_once(info: VideoInfo) -> None:
    plan = plan_frames(info, 12)
    limits = SMALL_CHUNKS
    pairs = zip(
        decode_frames(info.path, plan, info=info, limits=limits),
        decode_frames(info.path, plan, info=info, limits=limits),
        strict=True,
    )
    found = [(read_number(left.pixels[0]), read_number(right.pixels[0])) for left, right in pairs]
    assert found == [(index, index) for index in plan.indices]


def test_chunks_bound_the_pixels_in_flight(info: VideoInfo) -> None:
    """Whatever the budget, a batch has at most a third of the chunk, and stays valid when the next one arrives."""
    limits = DecodeLimits(chunk_bytes=12 * 320 * 240 * 3)
    batches = list(decode_frames(info.path, plan_frames(info, 120), info=info, limits=limits))
    assert max(len(batch) for batch in batches) == 4
    assert [read_number(picture) for batch in batches for picture in batch.pixels] == list(range(120))


def test_worker_imports_little() -> None:
    """It imports neither torch, gradio nor the caller's program."""
    modules = ("_worker.main", "_ffmpeg.frames", "_ffmpeg.indexing")
    code = "import sys; " + "".join(f"import longva_demo.video.{module}; " for module in modules)
    code += "print([name for name in ('torch', 'gradio', 'transformers', 'PIL', 'decord') if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_an_invalid_request_is_one_error(info: VideoInfo) -> None:
    """The worker crashes on an unknown limit, and the parent reports it."""
    request = {"task": "probe", "path": str(info.path), "decoder": "pyav", "limits": {"no": "limits"}}
    with WorkerProcess("clip.mp4", request, b"", DecodeLimits()) as worker, pytest.raises(VideoError, match="crashed"):
        worker.receive()


@pytest.mark.parametrize("milliseconds", [0, 10, 50, 200, 600])
def test_killed_at_any_moment(info: VideoInfo, milliseconds: int) -> None:
    """During start, imports, opening or decoding: one error line, or all frames if it had finished."""
    before = set(children())
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 10
        while not (pids := set(children()) - before) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(milliseconds / 1000)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        limits = DecodeLimits(timeout_seconds=500.0 + milliseconds)  # no other probe has these, so that a worker starts
        outcome = f"{probe(info.path, limits).num_frames} frames"
    except VideoError as error:
        outcome = str(error)
    killer.join()
    assert outcome == "120 frames" or (
        killed and outcome.startswith("plain.mp4: the decoder process was killed; try again")
    )
    assert not any(is_alive(pid) for pid in killed)
    assert works(info)


@pytest.mark.parametrize("num_batches", [0, 1, 7, 55])
def test_killed_between_frames(info: VideoInfo, num_batches: int) -> None:
    """The frames received are correct, and the abort is never mistaken for the end of the video."""
    batches, pid = start(info)
    numbers = [read_number(picture) for _ in range(num_batches) for picture in next(batches).pixels]
    os.kill(pid, signal.SIGKILL)
    rest = (read_number(picture) for batch in batches for picture in batch.pixels)
    with pytest.raises(VideoError, match="the decoder process was killed; try again"):
        numbers.extend(rest)
    assert numbers == sorted(set(numbers))
    assert works(info)
