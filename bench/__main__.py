"""Run every benchmark in its own process and collect the comparisons in one table: build/bench.md.

With `--write`, the table also replaces the one in docs/performance.md.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from bench import rows

NAMES = (
    "sampling",
    "preprocessing",
    "chat",
    "overlap",
    "memory",
    "cost",
    "page",
    "attribution",
    "find",
    "int8",
    "lighthouse",
)
TABLE = Path("build/bench.md")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table to docs/performance.md")
    should_write = parser.parse_args().write
    TABLE.parent.mkdir(exist_ok=True)
    collected = TABLE.with_suffix(".jsonl")
    collected.unlink(missing_ok=True)
    environment = {**os.environ, rows.FILE: str(collected.resolve())}
    failed = []
    for name in NAMES:
        print(f"\n## bench.{name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False, env=environment).returncode:
            failed.append(name)
    table = rows.table(rows.read(collected))
    TABLE.write_text(table + "\n", encoding="utf-8")
    print(f"\n## Summary ({TABLE})\n\n{table}")
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
        return 1
    if should_write:
        PAGE.write_text(rows.fill(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
