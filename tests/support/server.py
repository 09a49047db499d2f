"""A server in a separate process."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.preload import CAN_FORK, FIXED, ForkedProcess, fork

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 240.0
APP = (sys.executable, "app.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(
    log: Path, port: int, *flags: str, program: Sequence[str] = (), max_file_bytes: int = 0, **variables: str
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Start `longva-demo serve` in a separate process, and wait until it responds.

    program: what to run instead; without it, the server is forked where that is possible.
    max_file_bytes: the largest file that a forked one can write; 0 for no limit.
    variables: for its environment, such as LONGVA_MAX_FRAMES.
    """
    arguments, environment = ["--port", str(port), *flags], environment_of(variables)
    process: subprocess.Popen[bytes] | ForkedProcess
    if CAN_FORK and not program:
        process = fork("longva_demo", ["serve", *arguments], environment, log, max_file_bytes)
    else:
        command = [*(program or APP), *arguments]
        with log.open("a") as output:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
    wait_for(process, port, log)
    return process


def environment_of(variables: dict[str, str]) -> dict[str, str]:
    """The environment of a server: this process's, without settings, and these variables."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LONGVA_")}
    return environment | FIXED | variables


def wait_for(process: subprocess.Popen[bytes] | ForkedProcess, port: int, log: Path) -> None:
    """Wait until a server responds."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(f"http://127.0.0.1:{port}"):
        running = process.poll() is None and time.monotonic() < deadline
        if not running:
            process.kill()
        assert running, f"the server did not start:\n{log.read_text()}"
        time.sleep(0.2)


@contextmanager
def serving(log: Path, *flags: str, program: Sequence[str] = (), **variables: str) -> Iterator[str]:
    """The URL of `longva-demo serve` in a separate process, which ends with the `with` block."""
    port = free_port()
    process = start_server(log, port, *flags, program=program, max_file_bytes=0, **variables)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def call(address: str, name: str, *inputs: object) -> str:
    """Call an endpoint over plain HTTP, without gradio_client, and return the text of its events."""
    event = httpx.post(f"{address}/gradio_api/call/{name}", json={"data": inputs}).json()["event_id"]
    return httpx.get(f"{address}/gradio_api/call/{name}/{event}", timeout=30).text


def file_at(path: str) -> dict[str, object]:
    """A file of the server as the input of an endpoint, as clients name their uploads."""
    return {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
