"""`make audit`, with a stand-in for pip-audit that reports what a database would."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
audit = runpy.run_path(str(ROOT / "scripts" / "audit.py"))["audit"]
CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "not found"}
VULNERABLE = {
    "name": "pillow",
    "version": "12.3.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["12.3.1"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


def pip_audit(tmp_path: Path, out: str, errors: str = "", status: int = 0) -> list[str]:
    """A command that prints this, if it is given the constraints."""
    program = tmp_path / "pip_audit.py"
    program.write_text(
        f"import sys\nassert '--requirement={ROOT}/constraints.txt' in sys.argv and '--no-deps' in sys.argv\n"
        f"sys.stdout.write({out!r}); sys.stderr.write({errors!r}); sys.exit({status})\n"
    )
    return [sys.executable, str(program)]


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("out", "status", "lines"),
    [
        (report(CLEAN), 0, ["1 packages audited, 0 known vulnerabilities"]),
        (
            report(CLEAN, VULNERABLE),
            1,
            [
                "pillow 12.3.0: PYSEC-1, fixed in 12.3.1",
                "pillow 12.3.0: PYSEC-2, fixed in no version yet",
                "2 packages audited, 2 known vulnerabilities",
            ],
        ),
        (report(CLEAN, SKIPPED), 2, ["1 packages audited, 0 known vulnerabilities", "not audited: torch"]),
    ],
)
def test_what_was_found(
    out: str, status: int, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(pip_audit(tmp_path, out, "Found something\n", min(status, 1))) == status
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    ("out", "errors", "line"),
    [
        ("", "Traceback\nConnectionError: refused", "cannot be reached (ConnectionError: refused); try again online"),
        ("", "", "cannot be reached (no output); try again online"),
        (report(SKIPPED), "", "the package index has no advisories; let pip-audit reach the Python Package Index"),
    ],
)
def test_without_a_database_one_line_says_so(
    out: str, errors: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(pip_audit(tmp_path, out, errors, 1)) == 2
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("nothing was audited: ")
    assert said.endswith(line)


def test_all_that_is_audited_has_an_exact_version() -> None:
    """Otherwise pip-audit would have to resolve it."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


def test_there_are_no_packages_of_npm_to_audit() -> None:
    """oxlint comes as a Python package. A lock file of npm would need `npm audit` in `make audit`."""
    tracked = [path for path in ROOT.glob("**/package*.json") if not {".venv", "build"} & set(path.parts)]
    assert tracked == []
