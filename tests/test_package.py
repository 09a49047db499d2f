"""What is installed: versions, dependencies, extras, the long description, and one line on Windows."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import longva_demo
from longva_demo.cli import commands, main
from longva_demo.errors import DemoError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
GITHUB = {"GITHUB_REPOSITORY": "me/demo", "GITHUB_REF_NAME": "v1"}


def requirements(lines: list[str]) -> set[str]:
    return {str(Requirement(line)) for line in lines if line.strip() and not line.startswith("#")}


def setup_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("longva_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_space_installs_the_package_with_all_extras_but_the_benchmarks() -> None:
    listed = requirements((ROOT / "requirements.txt").read_text("utf-8").splitlines())
    extras = [lines for name, lines in EXTRAS.items() if name != "eval"]
    assert listed == requirements([*PROJECT["dependencies"], *chain.from_iterable(extras)])


def test_pinned_versions_satisfy_the_requirements() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line)
    for line in requirements((ROOT / "requirements.txt").read_text("utf-8").splitlines()):
        requirement = Requirement(line)
        [pin] = [version for name, version in pins.items() if same_name(name, requirement.name)]
        assert requirement.specifier.contains(pin), line


def same_name(left: str, right: str) -> bool:
    return re.sub("[-_.]+", "-", left).lower() == re.sub("[-_.]+", "-", right).lower()


def test_one_statement_of_the_supported_python_versions() -> None:
    wanted = [f"3.{minor}" for minor in range(9, 16) if f"3.{minor}" in SpecifierSet(PROJECT["requires-python"])]
    assert wanted == ["3.11", "3.12", "3.13"]
    named = [line.removeprefix("Programming Language :: Python :: ") for line in PROJECT["classifiers"]]
    assert [line for line in named if line.startswith("3.")] == wanted
    matrix = ", ".join(f'"{version}"' for version in wanted)
    assert f"python: [{matrix}]" in (ROOT / ".github" / "workflows" / "checks.yml").read_text("utf-8")
    names = " ".join(f"python{version}" for version in wanted)
    assert f"for p in {names} python3;" in (ROOT / "Makefile").read_text("utf-8")


def test_the_long_description_has_no_front_matter_and_absolute_addresses() -> None:
    module = setup_module()
    assert doctest.testmod(module).failed == 0
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.startswith("---\ntitle:"), "a Space reads its configuration there"
    text = module.long_description(readme, GITHUB)
    assert text.startswith("# LongVA demo\n")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert all(link.startswith(("https://", "#")) for link in links)
    assert "https://raw.githubusercontent.com/me/demo/v1/docs/screenshot.png" in links
    assert "](docs/" not in module.long_description(readme, {})


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {longva_demo.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## [{longva_demo.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_windows_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main, "IS_POSIX", False)
    assert main.main(["frames", "clip.mp4"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == "longva-demo: Windows is not supported; use Linux, macOS, a container or WSL"


def test_the_command_starts_without_posix_modules() -> None:
    """On Windows these modules do not exist, and the line above must still appear."""
    code = (
        "import os, sys; sys.modules.update(dict.fromkeys(('fcntl', 'resource'))); import longva_demo.cli.main as main;"
        "main.IS_POSIX = False; sys.exit(main.main(['doctor']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr


def test_a_missing_optional_package_is_named() -> None:
    with pytest.raises(DemoError, match="needs no_such_package; run pip install no_such_package"):
        commands.require_packages("sys", "no_such_package")
