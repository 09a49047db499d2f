"""A function run in a process of its own, so that it inherits neither memory nor threads; and what it used there.

`apart("bench.memory:read", num_frames=8)` starts `python -m bench.process bench.memory:read '{"num_frames": 8}'`.
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


class NotRun(Exception):
    """A function failed in its process; the message is the last line that it wrote."""


def apart(function: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Any:
    """What `module:function` returns; arguments and result are plain JSON values.

    Raises:
        NotRun: it ended with an error, as where a package is missing.
    """
    command = [sys.executable, "-m", "bench.process", function, json.dumps(arguments)]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise NotRun(lines[-1])
    return json.loads(ended.stdout.splitlines()[-1])


def cpu_seconds() -> float:
    """Of this process and its ended children, all threads."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def peak_bytes() -> tuple[int, int]:
    """The most resident memory so far: of this process, and of the largest of its ended children.

    Linux hands a process's peak on to the programs that it starts: who calls `apart` must stay small.
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
