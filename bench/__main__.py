"""Run every benchmark, each in a process of its own, so that none inherits another's memory or threads."""

import subprocess
import sys

for name in ("sampling", "chat", "page", "evidence"):
    print(f"\n## bench.{name}\n", flush=True)
    subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)
