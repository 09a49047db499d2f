"""The main path in Firefox, and where Firefox differs from Chromium: focus, sliders, previews, codecs.

Playwright drives Firefox itself, with limits: a number field is not emptied before it is filled in, and neither dark
colours nor downloads of blobs can be asked for.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Playwright, expect

from longva_demo.page.components.gallery import read_examples
from tests.support.browser import Visit, find_browser
from tests.video import clips

LONG = next(example for example in read_examples() if example.path.stem == "needle")
SLOW = 120_000  # ms
PLAYS_H264 = """document.createElement("video").canPlayType('video/mp4; codecs="avc1.42E01E"')"""
FOCUSED = "[...document.querySelectorAll('.film-frames li')].indexOf(document.activeElement.closest('li'))"


@pytest.fixture(scope="module")
def firefox(playwright: Playwright) -> Iterator[Browser]:
    """A release of Firefox is driven by WebDriver BiDi ("moz-firefox"); Playwright's own build is patched for it."""
    kind = playwright.firefox
    path = find_browser(kind)
    channel = None if path == kind.executable_path else "moz-firefox"
    browser = kind.launch(channel=channel, executable_path=path)
    yield browser
    browser.close()


@pytest.fixture
def visit(firefox: Browser, address: str) -> Iterator[Visit]:
    context = firefox.new_context(viewport={"width": 1440, "height": 900})
    visit = Visit(context, address)
    visit.page.set_default_timeout(SLOW)
    assert visit.page.evaluate(PLAYS_H264), "this Firefox plays no H.264: install FFmpeg's libraries (Debian: ffmpeg)"
    yield visit
    assert visit.complaints == []
    context.close()


def test_the_main_path(visit: Visit, clip: Path) -> None:
    """Load the page, pick an example, browse its frames by keyboard, ask, and upload a file."""
    page = visit.page
    visit.pick(LONG.title)
    page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    page.focus(".film-size")
    page.keyboard.press("Tab")
    for key, there in (("ArrowRight", 1), ("End", 63), ("ArrowLeft", 62)):
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED) == there
    expect(page.locator(".loupe")).to_be_visible(timeout=SLOW)
    page.keyboard.press("Enter")
    seconds = visit.frame_seconds[62]
    page.wait_for_function(f"document.querySelector('#player video').currentTime >= {seconds} - 0.01")
    assert visit.ask(LONG.questions[0]) == LONG.answers[0]
    visit.upload(clip)
    visit.wait_for_frames(64)
    page.wait_for_function("document.querySelector('#player video')?.videoWidth === 320")
    expect(page.locator("#about")).to_contain_text("my & clip.mp4", timeout=SLOW)
    expect(page.locator("#preview")).to_be_hidden()
    assert visit.ask("What do you see?")


def test_tab_and_a_press_between_frames_keep_the_focused_frame(visit: Visit) -> None:
    """A scrolling list can have the focus itself. Tab, arrows and L do not treat it as a frame."""
    page = visit.page
    visit.pick(LONG.title)
    before = visit.frame_seconds
    assert page.eval_on_selector(".film-frames", "list => list.scrollHeight > list.clientHeight"), "no long film"
    page.focus(".film-size")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.file") == "contact-sheet.jpg"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == 1
    expect(page.locator(".loupe")).to_be_visible(timeout=SLOW)
    page.keyboard.press("Escape")  # the loupe can cover the corner
    expect(page.locator(".loupe")).to_be_hidden()
    page.locator(".film-frames").click(position={"x": 3, "y": 3})
    assert page.evaluate("document.activeElement.className") == "film-frames"
    for key in ("l", "ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == 1, "the frame that Tab reaches is not kept"
    assert visit.frame_seconds == before
    expect(page.locator(".trail > *")).to_have_count(1)


def pixels(screenshot: bytes) -> np.ndarray:
    """uint8 (height, width, 3)"""
    with Image.open(io.BytesIO(screenshot)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("name", ["#budget-slider", ".film-size"])
def test_sliders_have_a_track(visit: Visit, name: str) -> None:
    """A line through the whole slider and a thumb. The budget's line is filled up to the thumb."""
    visit.pick(LONG.title)
    slider = visit.page.locator(name)
    picture = pixels(slider.screenshot()).astype(int)
    ground = picture[1, 1]
    differs = np.abs(picture - ground).max(axis=2) > 8  # (height, width)
    assert differs.any(axis=0)[2:-2].all(), "the track has gaps, or there is none"
    assert differs.sum(axis=0).max() >= 10, "no thumb"
    if name == "#budget-slider":
        row = picture[picture.shape[0] // 2]
        assert np.abs(row[4] - row[-5]).max() > 60, "nothing tells how far the slider is"


def test_a_preview_ends_when_the_pointer_leaves_its_card(visit: Visit) -> None:
    first, second = visit.page.locator(".card").nth(0), visit.page.locator(".card").nth(1)
    for card in (first, second):
        card.hover()
        expect(card.locator(".moving")).to_be_visible(timeout=SLOW)
    expect(first.locator(".moving")).to_have_count(0)
    visit.page.mouse.move(0, 0)
    expect(second.locator(".moving")).to_have_count(0)
    visit.page.focus(".help-button")
    visit.page.keyboard.press("Tab")
    expect(first.locator(".moving")).to_be_visible(timeout=SLOW)
    # The pointer enters and leaves; the focus stays.
    first.hover()
    visit.page.mouse.move(0, 0)
    expect(first.locator(".moving")).to_be_visible()
    visit.page.keyboard.press("Tab")
    expect(first.locator(".moving")).to_have_count(0)


FILES = {
    "clip.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "clip.avi": {"codec": "mpeg4"},
    # Firefox treats it as audio.
    "field.ts": {"codec": "mpeg2video", "audio_seconds": 2.0},
}


@pytest.mark.parametrize("name", FILES)
def test_a_preview_replaces_a_video_that_firefox_cannot_play(visit: Visit, tmp_path: Path, name: str) -> None:
    visit.upload(clips.write_clip(tmp_path / name, 20, fps=10, **FILES[name]))
    expect(visit.page.locator("#preview")).to_contain_text("the player shows a small preview", timeout=SLOW)
    visit.page.wait_for_function("document.querySelector('#player video')?.videoWidth === 320")
    assert "/longva/preview/" in visit.page.eval_on_selector("#player video", "video => video.currentSrc")
    visit.wait_for_frames(20)


def test_dark_scrollbars_and_fields(visit: Visit) -> None:
    page = visit.page
    scheme = "name => getComputedStyle(document.querySelector(name)).colorScheme"
    page.goto(f"{visit.address}/?__theme=dark")
    page.wait_for_selector(".film")
    page.wait_for_selector("body.dark")
    for name in ("html", ".groups", ".chat-log", ".budget-number"):
        assert page.evaluate(scheme, name) == "dark", name
    assert pixels(page.screenshot())[5, 5].max() < 60


def test_an_answer_can_be_copied_without_the_browsers_clipboard(visit: Visit) -> None:
    page = visit.page
    visit.pick("Three shapes")
    answer = visit.ask("What do you see?")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.wait_for_selector(".turn .sure")  # the attribution redraws the buttons
    page.click('.turn .tool:has-text("Copy")')
    assert page.locator("textarea.copied").count() == 0
    page.focus("#question textarea")
    page.keyboard.press("Control+V")
    expect(page.locator("#question textarea")).to_have_value(answer)
