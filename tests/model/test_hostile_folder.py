"""A stranger's folder as `--model` runs no code, asks nothing, connects to nothing, and takes little time and memory.

Each row of hostile_rows.py turns a valid tiny checkpoint hostile in one way. It is refused in one line that names what
is wrong, or it loads and the hostile thing is ignored.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.model.golden import ROOT
from tests.model.hostile_changes import A
from tests.model.hostile_rows import CODE, LOADS, ROWS

STARTED, DEADLINE = 300.0, 60.0  # seconds until the first result, and between two, on a busy machine
MAX_SECONDS = 5.0  # of processor time for one folder
Results = dict[tuple[str, str], dict[str, Any]]
GUARDED = f"""
import json, socket
from tests.model import hostile_loader
hostile_loader.forbid_all()
for attempt in (
    lambda: socket.socket().connect(("127.0.0.1", 9)),
    lambda: socket.getaddrinfo("evil.example", 80),
    lambda: input("Really?"),
):
    try:
        attempt()
    except OSError:
        pass
{CODE}
print(json.dumps(hostile_loader.attempts))
"""

NAMES = list(ROWS)
ENTRIES = ("demo", "transformers")


def run(jobs: list[tuple[str, str]], place: Path) -> Results:
    """The loader's lines. Where it hangs or dies, the job is marked, and another process goes on with the next."""
    results: Results = {}
    environment = os.environ | {"CANARY": str(place / "canary"), "HF_HUB_OFFLINE": "0", "HF_HOME": str(place / "cache")}
    environment |= {"PYTHONPATH": f"{ROOT}", "TRANSFORMERS_VERBOSITY": "critical", "RUST_BACKTRACE": "0"}
    while len(results) < len(jobs):
        remaining = jobs[len(results) :]
        (place / "jobs.json").write_text(json.dumps(remaining))
        command = [sys.executable, "-m", "tests.model.hostile_loader", str(place / "jobs.json")]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=place, env=environment, text=True, **pipes) as process:
            lines: queue.Queue[str] = queue.Queue()
            threading.Thread(target=read_lines, args=(process, lines), daemon=True).start()
            timeout = STARTED
            for job in remaining:
                results[job] = next_result(lines, timeout)
                results[job]["ran"] = (place / "canary").exists()
                (place / "canary").unlink(missing_ok=True)
                timeout = DEADLINE
                if "died" in results[job]:
                    break
            process.kill()
    return results


def read_lines(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Pass on what a process prints, and an empty line at its end."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def next_result(lines: queue.Queue[str], timeout: float) -> dict[str, Any]:
    try:
        line = lines.get(timeout=timeout)
    except queue.Empty:
        return {"died": "it hangs"}
    return json.loads(line) if line else {"died": "it crashed"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each folder did, by the row's name and the entry."""
    place = tmp_path_factory.mktemp("hostile")
    folders = {}
    for number, (name, (change, _)) in enumerate(ROWS.items()):
        folder = folders[name] = place / f"folder{number}"
        shutil.copytree(A, folder)
        shutil.copytree(A.parent / "openai", folder / "openai")
        change(folder)
    jobs = [(str(folders[name]), entry) for entry in ENTRIES for name in ROWS]
    found = run(jobs, place)
    return {(name, entry): found[str(folders[name]), entry] for entry in ENTRIES for name in ROWS}


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_refused_in_one_line_or_loads(name: str, results: Results) -> None:
    result, message = results[name, "demo"], ROWS[name][1]
    assert_harmless(result)
    if message is LOADS:
        assert result["error"] is None
    else:
        kind, line = result["error"]
        assert kind == "ModelError"
        assert message in line
        assert "; " in line
        assert line.isprintable()
        assert len(line) < 600


@pytest.mark.parametrize("name", NAMES)
def test_the_classes_of_transformers_do_no_harm_with_it(name: str, results: Results) -> None:
    """Each of the registered classes raises or loads. Its errors are those of transformers."""
    assert_harmless(results[name, "transformers"])


def assert_harmless(result: dict[str, Any]) -> None:
    assert "died" not in result
    assert not result["ran"]
    assert result["attempts"] == []
    assert result["seconds"] < MAX_SECONDS


def test_the_guards_of_the_loader_hold(tmp_path: Path) -> None:
    """The loader notices code, questions and connections: otherwise, the tests above would prove nothing."""
    lines = subprocess.run(
        [sys.executable, "-c", GUARDED],
        cwd=ROOT,
        env=os.environ | {"CANARY": str(tmp_path / "canary")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    connected, looked_up, asked = json.loads(lines[-1])
    assert connected.startswith("connected ")
    assert connected.endswith("('127.0.0.1', 9))")
    assert (looked_up, asked) == ("looked up ('evil.example', 80)", "asked ('Really?',)")
    assert (tmp_path / "canary").exists()
