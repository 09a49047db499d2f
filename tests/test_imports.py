"""Imports go one way: settings, errors <- video, model <- chat <- niah, ui <- app."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = Path(__file__).parents[1] / "longva_demo"
BASE = {"errors", "settings", "clock", "parallel", "folders"}
ALLOWED = {
    "errors": set(),
    "clock": {"errors"},
    "parallel": set(),
    "folders": {"errors"},
    "settings": {"errors"},
    "terminal": {"errors"},
    "video": BASE,
    "model": BASE,
    "chat": BASE | {"video", "model"},
    "niah": BASE | {"video", "model", "chat", "tiny"},
    "ui": BASE | {"video", "model", "chat", "niah"},
    "tiny": BASE | {"video", "model", "chat"},
    "train": BASE | {"video", "model"},
    "doctor": BASE | {"video", "model", "chat"},
    "cli": BASE | {"terminal", "video", "model", "chat", "niah", "ui", "doctor"},
    "__main__": BASE | {"terminal", "cli"},
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
    assert part == "ui" or "gradio" not in {name.split(".")[0] for name in names}, "gradio belongs to ui"


def test_a_normal_install_has_all_that_is_imported() -> None:
    """Gradio brings starlette, and a Space brings spaces."""
    lines = (PACKAGE.parent / "requirements.txt").read_text().splitlines()
    required = {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    names = {name.split(".")[0] for path in PACKAGE.rglob("*.py") for name in imported_names(path.read_text())}
    others = names - set(sys.stdlib_module_names) - {"longva_demo", "starlette", "spaces"}
    owners = packages_distributions()
    assert {name for name in others if canonicalize_name(owners[name][0]) not in required} == set()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("longva_demo.video", "torch"), ("longva_demo.video", "gradio"), ("longva_demo.chat", "gradio")],
)
def test_importing_stays_light(module: str, forbidden: str) -> None:
    code = f"import {module}, sys; sys.exit({forbidden!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
