"""Screenshots of the real page with the bundled model, for the README: `python scripts/screenshot.py`.

Starts the server, picks an example, asks two of its questions, and writes docs/screenshot.png (1440 pixels wide).
With --all, the main states too, at both widths and in both colour schemes, as docs/page-*.png.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.ui.conftest import ARGUMENTS, Visit, find_browser, serving  # noqa: E402

MOST_BYTES = 400_000
TITLE = "One second in a minute"
NEEDLE_SECONDS = 38.0  # the number is there for this second alone


def show_answer(visit: Visit, title: str) -> None:
    """An example with two of its questions answered, the player at the frame that they are about."""
    visit.pick(title)
    for number in range(2):
        visit.page.click(f".chip >> nth={number}")
        visit.wait_for_answer(number + 1)
    visit.page.wait_for_selector(".turn:last-child .evidence")
    distances = [abs(seconds - NEEDLE_SECONDS) for seconds in visit.frame_seconds]
    visit.page.locator(".film button").nth(distances.index(min(distances))).click()
    visit.page.wait_for_selector(".film li[aria-current]")
    visit.page.eval_on_selector("#player video", "video => video.pause()")
    visit.page.evaluate("window.scrollTo(0, 0)")
    visit.page.mouse.move(0, 0)
    visit.page.wait_for_timeout(1500)


def show_error(visit: Visit, folder: Path) -> None:
    bad = folder / "notes.mp4"
    bad.write_text("not a video")
    visit.upload(bad)
    visit.page.wait_for_selector(".toast-body")
    visit.page.wait_for_timeout(500)


def save(visit: Visit, path: Path, full_page: bool) -> None:
    """As a PNG of 256 colours where it would be too large otherwise."""
    visit.page.screenshot(path=path, full_page=full_page)
    with Image.open(path) as shot:
        if path.stat().st_size > MOST_BYTES:
            shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(REPOSITORY)}  {path.stat().st_size / 1000:.0f} kB")


def save_states(browser: Browser, address: str, width: int, scheme: str, folder: Path) -> None:
    docs = REPOSITORY / "docs"
    context = browser.new_context(viewport={"width": width, "height": 1024}, color_scheme=scheme)  # type: ignore[arg-type]
    visit = Visit(context, address)
    save(visit, docs / f"page-empty-{width}-{scheme}.png", full_page=True)
    show_answer(visit, TITLE)
    save(visit, docs / f"page-answer-{width}-{scheme}.png", full_page=True)
    show_error(visit, folder)
    save(visit, docs / f"page-error-{width}-{scheme}.png", full_page=False)
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the main states at both widths and in both schemes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(ARGUMENTS))
        with serving(Path(folder) / "server.log", "--model", "tiny") as address:
            visit = Visit(browser.new_context(viewport={"width": 1440, "height": 1240}), address)
            show_answer(visit, TITLE)
            save(visit, REPOSITORY / "docs" / "screenshot.png", full_page=False)
            if options.all:
                for width in (1440, 390):
                    for scheme in ("light", "dark"):
                        save_states(browser, address, width, scheme, Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
