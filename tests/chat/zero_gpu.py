"""ZeroGPU through the real package `spaces`, which needs a CUDA build of PyTorch: run by `make test-torch`."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from longva_demo.chat import LocalEngine
from tests.chat.test_zero_gpu import QUESTIONS, ROOT, SAMPLING, engine, open_chat

__all__ = ["engine"]  # a fixture


@contextmanager
def lending_service(answers: list[tuple[int, dict[str, Any]]], asked: list[dict[str, str]]) -> Iterator[str]:
    """Serve the API that `spaces` talks to. /schedule gives the next of `answers`; `asked` receives the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            url = urlsplit(self.path)
            status, values = 200, {}
            if url.path == "/schedule":
                asked.append({name: value[0] for name, value in parse_qs(url.query).items()})
                status, values = answers.pop(0)
            body = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


LENT = (200, {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"})
USED_UP = (429, {"left": 12, "wait": "3:00:00"})


def test_questions_through_the_package(engine: LocalEngine, clip: Path, tmp_path: Path) -> None:
    """Two answers from a forked worker, as in one process; then the quota is used up."""
    (tmp_path / "cgroup").write_text("1:devices:/space\n")
    asked: list[dict[str, str]] = []
    with lending_service([LENT, LENT, USED_UP], asked) as url:
        environment = os.environ | {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": url,
            "ZEROGPU_PROC_SELF_CGROUP_PATH": str(tmp_path / "cgroup"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.chat.zero_gpu_space", str(clip), "8", *QUESTIONS, QUESTIONS[0]]
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200
        )
    assert result.returncode == 0, result.stderr
    *answered, refused = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    here = open_chat(engine, clip)
    for question, there in zip(QUESTIONS, answered, strict=True):
        list(here.ask(question, SAMPLING))
        assert there["answer"] == there["streamed"] == here.turns[-1].answer
    assert [int(one["durationSeconds"]) for one in asked] == [16, 16, 16]  # 15 + 8 x 0.03 or 0.08 + 24 x 0.05
    assert refused["error"].startswith("ZeroGPU quota exceeded: ")
    assert refused["error"].endswith("; try again later, or set a smaller budget")
