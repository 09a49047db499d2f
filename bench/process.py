"""Run a function in a fresh process, which inherits neither memory nor threads, and measure CPU time and peak memory.

`run_in_process("bench.memory:prefill", num_frames=8)` runs
`python -m bench.process bench.memory:prefill '{"num_frames": 8}'`.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class ProcessFailed(Exception):
    """A function failed in its process. The message is the last line of its standard error."""


def run_in_process(function: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Any:
    """Call `module:function` in a new process and return its result. Arguments and result are plain JSON values.

    Raises:
        ProcessFailed: it exited with an error, for example because a package is missing.
    """
    command = [sys.executable, "-m", "bench.process", function, json.dumps(arguments)]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise ProcessFailed(lines[-1])
    return json.loads(ended.stdout.splitlines()[-1])


def cpu_seconds() -> float:
    """CPU seconds of this process and its finished children, over all threads. Ends the fork server of decoders."""
    forks = sys.modules.get("longva_demo.video._worker.forks")
    if forks is not None:
        forks.disconnect_all()
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def peak_bytes() -> tuple[int, int]:
    """Peak resident memory so far: of this process, and of the largest of its finished children.

    On Linux a process's peak is inherited by the programs it starts, so callers of `run_in_process` must stay small.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own * unit, child * unit


def main() -> None:
    module, name = sys.argv[1].split(":")
    function = getattr(importlib.import_module(module), name)
    print(json.dumps(function(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
