"""The docs: links lead somewhere, generated pages are up to date, and names in them exist."""

import doctest
import re
import runpy
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from longva_demo import settings
from longva_demo.chat.engine import Figure
from longva_demo.chat.prefix_cache import PrefixCache
from longva_demo.chat.remote.counts import Counts
from longva_demo.quotas import Quotas
from longva_demo.settings import SETTINGS, Settings, variable_of
from longva_demo.telemetry import Metrics

ROOT = Path(__file__).parents[1]
SKIPPED = {".venv", "node_modules", "build", "dist", ".pytest_cache"}
PAGES = sorted(page for page in ROOT.rglob("*.md") if not SKIPPED & set(page.relative_to(ROOT).parts))
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:longva_demo|tests|bench|tools|scripts|docs|examples)/[\w./-]+)`")
TEST = re.compile(r"`(test_\w+\.py)`")
MODULE = re.compile(r"python -m ((?:bench|tools|longva_demo)[\w.]*)")
OTHER_VARIABLES = {"LONGVA_"}  # the prefix


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_relative_links_and_pictures_exist(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_named_paths_modules_and_variables_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    text = page.read_text("utf-8")
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []
    assert [name for name in TEST.findall(text) if not any((ROOT / "tests").rglob(name))] == []
    modules = [ROOT.joinpath(*name.rstrip(".").split(".")) for name in MODULE.findall(text)]
    assert [str(path) for path in modules if not (path.is_dir() or path.with_suffix(".py").is_file())] == []
    known = {variable_of(one) for one in SETTINGS.values()} | OTHER_VARIABLES
    assert set(re.findall(r"\bLONGVA_[A-Z_]*", text)) <= known


@pytest.mark.parametrize(
    ("name", "function"),
    [("cli.md", "cli_page"), ("configuration.md", "configuration_page"), ("evaluation.md", "evaluation_page")],
)
def test_generated_pages_are_up_to_date(name: str, function: str) -> None:
    written = runpy.run_path(str(ROOT / "scripts" / "write_docs.py"))[function]()
    assert (ROOT / "docs" / name).read_text("utf-8") == written, "run `make docs`"


def test_every_setting_is_documented() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert [name for name, one in SETTINGS.items() if f"| `{variable_of(one)}` |" not in table] == []
    assert all(one.metadata["help"] for one in SETTINGS.values())


def test_the_readme_fits_one_screen_or_three() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 130
    assert all(len(line) <= 135 for line in lines)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(settings)
    assert (result.attempted > 0, result.failed) == (True, 0)


def every_figure() -> list[Figure]:
    """Of both kinds of engine."""
    return [*PrefixCache().figures(), *Counts().figures(is_up=True, num_replicas=1, context_length=1)]


def test_every_metric_is_documented() -> None:
    """docs/deploy.md lists exactly the metrics of telemetry.py."""
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    metrics = Metrics(lambda: 0, lambda: 0, every_figure, Quotas(Settings()))
    exposed = set(re.findall(r"^# TYPE (longva_\w+) ", generate_latest(metrics.registry).decode(), re.MULTILINE))
    documented = set(re.findall(r"^\| `(longva_\w+)`", text, re.MULTILINE))
    assert documented == {name for name in exposed if not name.endswith("_created")}
