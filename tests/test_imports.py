"""Imports go one way.

settings <- video, model <- timed_text <- chat <- telemetry, moments <- niah, eval, page <- server <- cli.
"""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "longva_demo"
BASE = {"errors", "settings", "times", "parallel", "folders", "quotas", "unires", "strict", "result_file"}
ALLOWED = {
    "errors": set(),
    "times": {"errors"},
    "parallel": {"quotas"},
    "unires": set(),
    "folders": {"errors"},
    "settings": {"errors"},
    "quotas": {"errors", "settings"},
    "strict": {"errors"},
    "result_file": {"errors"},
    "video": BASE,
    "model": BASE,
    "timed_text": BASE | {"video"},
    "chat": BASE | {"video", "model", "timed_text"},
    "frames": BASE | {"video"},
    "conversation": BASE | {"frames", "video", "chat", "moments"},
    "moments": BASE | {"video", "timed_text", "model", "chat"},
    "whole_video": BASE | {"frames", "video", "timed_text", "chat", "conversation", "moments"},
    "aio": BASE | {"chat", "conversation"},
    "telemetry": BASE | {"chat"},
    "tiny": BASE,
    "niah": BASE | {"video", "timed_text", "model", "chat", "tiny"},
    "eval": BASE | {"video", "model", "chat"},
    "page": BASE | {"video", "timed_text", "model", "chat", "telemetry", "moments", "niah", "tiny"},
    "server": BASE | {"video", "timed_text", "model", "chat", "telemetry", "moments", "page"},
    "train": BASE | {"video", "model"},
    "cli": BASE | {"video", "timed_text", "model", "chat", "telemetry", "moments", "niah", "eval", "server"},
    "__main__": {"cli"},
}


def imported_names(source: str) -> list[str]:
    """The modules that a module imports, anywhere in it: ["torch", "longva_demo.video"]."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "longva_demo":
            names += [f"longva_demo.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            names.append(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    names = imported_names(path.read_text())
    assert {name.split(".")[1] for name in names if name.startswith("longva_demo.")} <= ALLOWED[part] | {part}
    assert part in ("page", "server") or "gradio" not in {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("program", "allowed"), [("tools", ()), ("bench", ("tools", "tests.support"))])
def test_programs_import_the_package_and_little_else(program: str, allowed: tuple[str, ...]) -> None:
    for path in sorted((ROOT / program).rglob("*.py")):
        others = [
            name for name in imported_names(path.read_text()) if name.split(".")[0] in {"tools", "bench", "tests"}
        ]
        assert all(name.startswith((program, *allowed)) for name in others), path


def test_only_tests_of_benchmarks_import_them() -> None:
    """What both need stands in tests/support."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if not path.name.startswith("test_bench"):
            assert not any(name.split(".")[0] == "bench" for name in imported_names(path.read_text())), path


def test_a_normal_install_has_all_that_is_imported() -> None:
    """Gradio brings its server, and a Space brings spaces."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    names = {name.split(".")[0] for path in PACKAGE.rglob("*.py") for name in imported_names(path.read_text())}
    others = names - set(sys.stdlib_module_names) - {"longva_demo", "spaces"}
    others -= {"starlette", "fastapi", "uvicorn", "h11", "orjson"}
    others -= {"lmms_eval", "loguru", "tqdm"}  # the extra [eval] only
    owners = packages_distributions()
    assert {name for name in others if canonicalize_name(owners[name][0]) not in required} == set()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("longva_demo", "torch"),
        ("longva_demo.frames", "torch"),
        ("longva_demo.video", "torch"),
        ("longva_demo.timed_text", "torch"),
        ("longva_demo.timed_text", "pysubs2"),
        ("longva_demo.video", "gradio"),
        ("longva_demo.chat", "gradio"),
    ],
)
def test_importing_stays_light(module: str, forbidden: str) -> None:
    code = f"import {module}, sys; sys.exit({forbidden!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
