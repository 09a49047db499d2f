"""axe-core finds no violation of any of its rules in the page's main states, light and dark, wide and narrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.support.browser import Visit

WIDE, NARROW = 1440, 390  # pixels
# With those beyond WCAG, which are on by default, and WCAG 2.2's.
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],  # every rule is run; of the others, only one element is reported
}


def violations(page: Page) -> list[str]:
    """One line per violated rule and element."""
    found: dict[str, Any] = Axe().run(page, options=RULES).response
    assert len(found["passes"]) > 10, "axe-core checked next to nothing"
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary'].splitlines()[-1].strip()} {node['html'][:120]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def empty(_: Visit, __: Path) -> None:
    pass


def answered(visit: Visit, _: Path) -> None:
    """An answer with its attribution, a blind check and a comparison of budgets."""
    visit.pick("Three shapes")
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    visit.page.wait_for_selector(".turn:last-child .sure")
    for name, result in (("Blind check", ".verdict"), ("Compare budgets", ".budgets tr:last-child")):
        visit.page.click(f'.turn:last-child button:has-text("{name}")')
        visit.page.wait_for_selector(f".turn:last-child {result}")
    visit.page.locator(".film button").nth(3).focus()


def opened(visit: Visit, _: Path) -> None:
    """Open everything that is collapsed at first."""
    visit.page.click("#settings button")
    visit.page.get_by_role("tab", name="Picture").click()


def explained(visit: Visit, _: Path) -> None:
    """The panel about LongVA-7B, over a selected video."""
    visit.pick("Three shapes")
    visit.page.click(".badge")
    visit.page.wait_for_selector(".machine-needs td")


def helped(visit: Visit, _: Path) -> None:
    visit.page.click(".help-button")


def needle_tested(visit: Visit, _: Path) -> None:
    visit.pick("Three shapes")
    visit.page.get_by_role("tab", name="Needle test").click()
    visit.page.click(".needles-start")
    visit.page.wait_for_selector(".heat td:not(:empty)")
    visit.page.click(".needles-stop")


def listed(visit: Visit, folder: Path) -> None:
    """What is said and written: lines, and the buttons for more."""
    file = folder / "own.srt"
    file.write_text("1\n00:00:01,000 --> 00:00:02,000\nA star\n")
    visit.pick("Three shapes")
    visit.page.get_by_role("tab", name="Words").click()
    visit.page.wait_for_selector(".words-screen:visible")
    visit.page.set_input_files(".words-file", str(file))
    visit.page.wait_for_selector(".words .line")


OPAQUE = """() => {
  const around = [document.querySelector(".toast-body")];
  while (around.at(-1).parentElement) around.push(around.at(-1).parentElement);
  return around.every((node) => getComputedStyle(node).opacity === "1");
}"""


def refused(visit: Visit, folder: Path) -> None:
    bad = folder / "notes.mp4"
    bad.write_text("these are not pictures")
    visit.upload(bad)
    visit.page.wait_for_selector(".toast-body")
    visit.page.wait_for_function(OPAQUE)  # wait for the fade-in


def set_scheme(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function("(dark) => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
    page.wait_for_function("document.getAnimations().every((one) => !(one instanceof CSSTransition))")


STATES = [(state, ("light", "dark")) for state in (empty, answered, opened, explained, helped, needle_tested, listed)]
STATES += [(refused, ("light",)), (refused, ("dark",))]  # a page for each: the message disappears after ten seconds


@pytest.mark.parametrize(("state", "schemes"), STATES)
def test_no_violation(
    visit: Visit, tmp_path: Path, state: Callable[[Visit, Path], None], schemes: tuple[str, ...]
) -> None:
    visit.page.set_default_timeout(120_000)
    state(visit, tmp_path)
    for scheme in schemes:
        set_scheme(visit.page, scheme)
        for width in (WIDE, NARROW):
            visit.page.set_viewport_size({"width": width, "height": 900})
            assert violations(visit.page) == [], (scheme, width)
