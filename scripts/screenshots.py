"""Screenshots of the real page with the bundled model, for the README: `make screenshots` writes docs/*.png.

A first visit, an answer with its frames, an answer that is checked, 2,000 frames, a search, a phone, a file that is
refused, and what can be done with a video that the built-in model does not know.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.support.browser import ARGUMENTS, Visit, find_browser  # noqa: E402
from tests.support.server import serving  # noqa: E402

MAX_BYTES = 400_000
NEEDLE, LONG, SHAPES = "One second in a minute", "Ten minutes, one number", "Three shapes"
NEEDLE_SECONDS = 38.0  # the number is there for this second alone
SLOW = 300_000  # ms: 2,000 frames are read


def first_visit(visit: Visit) -> None:
    """The cards in full, and an empty chat."""
    visit.page.wait_for_selector(".card")


def answer(visit: Visit) -> None:
    """An example with two of its questions answered, the player at the frame that they are about."""
    visit.pick(NEEDLE)
    for number in range(2):
        visit.page.click(f".chip >> nth={number}")
        visit.wait_for_answer(number + 1)
    visit.page.wait_for_selector(".turn:last-child .attribution")
    distances = [abs(seconds - NEEDLE_SECONDS) for seconds in visit.frame_seconds]
    visit.page.locator(".film button").nth(distances.index(min(distances))).click()
    visit.page.wait_for_selector(".film li[aria-current]")
    visit.page.eval_on_selector("#player video", "video => video.pause()")


def answer_on_a_phone(visit: Visit) -> None:
    """The newest answer between the player and the question."""
    answer(visit)
    visit.page.eval_on_selector(".turn:last-child .attribution", "node => node.scrollIntoView({ block: 'end' })")
    visit.page.mouse.wheel(0, 90)  # out from under the question


def checks(visit: Visit) -> None:
    """The same question without the video and at several budgets, side by side."""
    visit.pick(LONG)
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    for name, result in (("Blind check", ".verdict"), ("Compare budgets", ".comparison:not(:has(.status))")):
        visit.page.wait_for_selector(".turn:last-child .attribution")
        visit.page.click(f'.turn:last-child button:has-text("{name}")')
        visit.page.wait_for_selector(f".turn:last-child {result}")
    visit.page.eval_on_selector(".chat-log", "log => log.scrollTo(0, log.scrollHeight)")


def many(visit: Visit) -> None:
    """2,000 frames of one video."""
    visit.pick(LONG)
    visit.page.fill(".budget-number", "2000")
    visit.page.press(".budget-number", "Enter")
    visit.wait_for_frames(2000)
    visit.page.locator(".budget-number").blur()


def refused(visit: Visit) -> None:
    """A file that is not a video; the chat and the frames stay."""
    visit.pick(SHAPES)
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    with tempfile.TemporaryDirectory() as folder:
        bad = Path(folder) / "notes.mp4"
        bad.write_text("not a video")
        visit.upload(bad)
        visit.page.wait_for_selector(".toast-body")


def own_video(visit: Visit) -> None:
    """The panel that a refusal leads to."""
    visit.upload(REPOSITORY / "examples" / "landscape.mp4")
    visit.wait_for_frames()
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    visit.page.click('.turn [data-tool="machine"]')
    visit.page.wait_for_selector(".machine-needs td")


def moments(visit: Visit) -> None:
    """The ranges of a search and its curve on the timeline."""
    visit.pick(NEEDLE)
    visit.page.fill(".find input", "a star")
    visit.page.press(".find input", "Enter")
    visit.page.wait_for_selector(".found-save:not([hidden])")
    visit.page.locator(".find input").blur()


class Shot(NamedTuple):
    """One picture: the state, and its window."""

    show: Callable[[Visit], None]
    width: int = 1440
    height: int = 900
    scheme: Any = "light"


SHOTS = {
    "screenshot": Shot(answer),
    "page-checks": Shot(checks, scheme="dark"),
    "page-first": Shot(first_visit),
    "page-frames": Shot(many),
    "page-moments": Shot(moments),
    "page-own": Shot(own_video),
    "page-phone": Shot(answer_on_a_phone, width=390, height=844),
    "page-refused": Shot(refused),
}


def save(browser: Browser, address: str, name: str, shot: Shot) -> None:
    """As a PNG, with 256 colours if it would be too large otherwise."""
    window: Any = {"width": shot.width, "height": shot.height}
    context = browser.new_context(viewport=window, color_scheme=shot.scheme)
    visit = Visit(context, address)
    visit.page.set_default_timeout(SLOW)
    shot.show(visit)
    visit.page.mouse.move(0, 0)
    visit.page.wait_for_timeout(1500)  # for transitions to end
    path = REPOSITORY / "docs" / f"{name}.png"
    visit.page.screenshot(path=path)
    context.close()
    with Image.open(path) as picture:
        if path.stat().st_size > MAX_BYTES:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(REPOSITORY)}  {path.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(playwright.chromium), args=list(ARGUMENTS))
        with serving(Path(folder) / "server.log", "--model", "tiny") as address:
            for name, shot in SHOTS.items():
                save(browser, address, name, shot)
        browser.close()


if __name__ == "__main__":
    main()
