"""vLLM replicas on this machine's CPU, and vllm-router before them, for tests, `make cluster` and `bench.cluster`.

They run from an environment of their own, build/venv-vllm, which `make cluster` and `make test-vllm` install.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "build" / "venv-vllm"
PLUGIN = ROOT / "longva_vllm"
START_SECONDS = 900.0  # about 30 on an idle machine
STOP_SECONDS = 20.0
REPLICA_FLAGS = (
    "--dtype=float32",
    "--enforce-eager",
    "--max-num-batched-tokens=2304",
    "--max-num-seqs=8",
    "--generation-config=vllm",
    f"--chat-template={PLUGIN / 'chat.jinja'}",
    '--media-io-kwargs={"video": {"video_backend": "longva", "num_frames": -1}}',
    '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
    "--enable-scale-out",
    "--enable-prompt-tokens-details",
    "--distributed-executor-backend=uni",
)
ROUTER_FLAGS = (
    "--policy=sticky_least_loaded",
    "--health-check-interval-secs=1",
    "--health-failure-threshold=2",
    "--retry-max-retries=2",
    "--cb-failure-threshold=3",
    "--cb-timeout-duration-secs=5",
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Program:
    """A server in a process group of its own; its output goes to `log`."""

    def __init__(self, command: Sequence[str], log: Path, port: int, environment: dict[str, str]) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=os.environ | environment,
                start_new_session=True,
            )

    def wait(self, path: str = "/health") -> None:
        """Until it answers. Raises RuntimeError, with the end of its log, if it ends or takes too long."""
        started = time.monotonic()
        while time.monotonic() - started < START_SECONDS and self._process.poll() is None:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}{path}", timeout=2, trust_env=False).status_code == httpx.codes.OK:
                    return
            time.sleep(0.5)
        raise RuntimeError(f"{self.log} ends with:\n{self.log.read_text('utf-8', 'replace')[-4000:]}")

    def kill(self) -> None:
        """At once, with all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()


class Cluster:
    """Replicas that serve `model`, and a router. Used in a `with` block."""

    def __init__(
        self,
        folder: Path,
        model: str = str(ROOT / "longva_demo" / "tiny" / "weights"),
        name: str = "tiny",
        num_replicas: int = 2,
        key: str = "",
        flags: Sequence[str] = (),
        has_plugin: bool = True,
    ) -> None:
        if not (ENVIRONMENT / "bin" / "vllm-router").exists():
            raise RuntimeError(f"{ENVIRONMENT} is missing; run make {ENVIRONMENT.relative_to(ROOT)}/installed")
        self._folder, self._model, self._name, self._key, self._flags = folder, model, name, key, flags
        self._has_plugin = has_plugin
        self._ports = [free_port() for _ in range(num_replicas)]
        self.replicas: list[Program] = []
        self.router: Program | None = None

    @property
    def address(self) -> str:
        """Of the router."""
        assert self.router is not None
        return self.router.address

    def __enter__(self) -> Self:
        try:
            self.replicas = [self._start(number) for number in range(len(self._ports))]
            for replica in self.replicas:
                replica.wait()
            self.router = self._start_router()
            self.router.wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def restart(self, number: int) -> None:
        """After `replicas[number].kill()`."""
        self.replicas[number] = self._start(number)
        self.replicas[number].wait()

    def num_requests(self, number: int) -> int:
        """Requests for tokens that a replica has answered, by its log."""
        return self.replicas[number].log.read_text("utf-8", "replace").count("POST /inference/v1/generate")

    def _start(self, number: int) -> Program:
        port = self._ports[number]
        command = [
            str(ENVIRONMENT / "bin" / "python"),
            *("-m", "vllm.entrypoints.openai.api_server"),
            *(f"--model={self._model}", f"--served-model-name={self._name}"),
            *("--host=127.0.0.1", f"--port={port}", *REPLICA_FLAGS, *self._flags),
            *([f"--api-key={self._key}"] if self._key else []),
        ]
        environment = {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            **({} if self._has_plugin else {"VLLM_PLUGINS": ""}),
        }
        return Program(command, self._folder / f"replica-{number}.log", port, environment)

    @contextmanager
    def another_router(self, *flags: str) -> Iterator[str]:
        """The address of one more router before the same replicas, with further flags."""
        router = self._start_router("router-2.log", *flags)
        try:
            router.wait()
            yield router.address
        finally:
            router.stop()

    def _start_router(self, log: str = "router.log", *flags: str) -> Program:
        port, metrics_port = free_port(), free_port()
        command = [
            str(ENVIRONMENT / "bin" / "vllm-router"),
            "--worker-urls",
            *(replica.address for replica in self.replicas),
            *("--host=127.0.0.1", f"--port={port}", f"--prometheus-port={metrics_port}", *ROUTER_FLAGS, *flags),
        ]
        return Program(command, self._folder / log, port, {})

    def _stop(self) -> None:
        for program in (*([self.router] if self.router else []), *self.replicas):
            program.stop()


def empty_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
