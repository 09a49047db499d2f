"""Compare the exact versions of constraints.txt with known vulnerabilities, using pip-audit: `make audit`.

Exit status: 0 if none is known, 1 if some are, 2 if not every package could be looked up.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# With exact versions, nothing needs to be resolved or installed.
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "--timeout=20")


def audit(pip_audit: Sequence[str]) -> int:
    """Print one line per vulnerability, and a summary. `pip_audit` is the command; returns the exit status."""
    command = [*pip_audit, f"--requirement={CONSTRAINTS}", *OPTIONS]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (result.stderr.strip() or "no output").splitlines()[-1]
        print(f"nothing was audited: the advisory database cannot be reached ({reason[:200]}); try again online")
        return 2
    # An index without advisories, such as a mirror, knows none of them.
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        print("nothing was audited: the package index has no advisories; let pip-audit reach the Python Package Index")
        return 2
    found = [(package, one) for package in packages for one in package.get("vulns", ())]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    print(f"{len(packages) - len(skipped)} packages audited, {len(found)} known vulnerabilities")
    if skipped:
        print(f"not audited: {', '.join(skipped)}")
    return 1 if found else 2 if skipped else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1:]))
