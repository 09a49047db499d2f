"""The main path in WebKitGTK, and where it differs from Chromium. `make test-webkit` runs this file.

It is not Safari, but has related layout and JavaScript engines. Its media come from GStreamer.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from longva_demo.page.components.gallery import read_examples
from tests.video import clips

LONG = next(example for example in read_examples() if example.path.stem == "needle")
SLOW = 120.0  # seconds
FOCUSED = "[...document.querySelectorAll('.film-frames li')].indexOf(document.activeElement.closest('li'))"
FRAMES = "document.querySelectorAll('.film[data-state=done] .film-frames button[data-seconds]')"
# Collects the errors on the page.
WATCH = "window.complaints = []; addEventListener('error', (event) => window.complaints.push(event.message));"


class Visit:
    """An open page."""

    def __init__(self, driver: webdriver.WebKitGTK, address: str) -> None:
        self.driver = driver
        driver.get(address)
        driver.execute_script(WATCH)
        self.wait("document.querySelector('.film') && document.querySelector('#player input[type=file]')")

    def js(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression}")

    def wait(self, expression: str) -> None:
        deadline = time.monotonic() + SLOW
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"never came: {expression}; {self.player()}"
            time.sleep(0.1)

    def player(self) -> dict[str, Any]:
        """The state of the player, and the message below it."""
        return self.js(
            "((video) => ({ width: video?.videoWidth, state: video?.readyState, source: video?.currentSrc,"
            " line: document.querySelector('.preview').textContent }))(document.querySelector('#player video'))"
        )

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def pick(self, title: str) -> None:
        self.driver.find_element(By.XPATH, f"//*[contains(@class, 'card') and contains(., '{title}')]").click()
        self.wait(f"{FRAMES}.length")

    def upload(self, path: Path, num_frames: int) -> None:
        """Choose a file in the empty video field, and wait for its frames."""
        self.driver.find_element(By.CSS_SELECTOR, "#player input[type=file]").send_keys(str(path))
        self.wait(f"document.querySelector('.about').textContent.includes('{path.name}')")
        self.wait(f"{FRAMES}.length === {num_frames}")

    def ask(self, question: str) -> str:
        count = self.js("document.querySelectorAll('.turn').length")
        self.driver.find_element(By.CSS_SELECTOR, "#question textarea").send_keys(question, Keys.ENTER)
        self.wait(f"document.querySelectorAll('.turn .stats:not(:empty)').length === {count + 1}")
        return str(self.js("document.querySelector('.turn:last-child .answer').innerText"))


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.WebKitGTK]:
    driver = webdriver.WebKitGTK()
    driver.set_window_size(1440, 900)
    yield driver
    driver.quit()


@pytest.fixture
def visit(driver: webdriver.WebKitGTK, address: str) -> Iterator[Visit]:
    visit = Visit(driver, address)
    yield visit
    assert visit.js("window.complaints") == []


def test_the_main_path(visit: Visit, tmp_path: Path) -> None:
    """Load the page, pick an example, browse its frames by keyboard, ask, and upload a file."""
    visit.pick(LONG.title)
    visit.wait("document.querySelector('#player video')?.videoWidth")
    visit.js("document.querySelector('.film-size').focus()")
    visit.press(Keys.TAB)
    assert visit.js(FOCUSED) == 0
    # The last frame is out of view. Its larger view opens after it was scrolled into view.
    assert visit.js("((list) => list.scrollHeight > list.clientHeight)(document.querySelector('.film-frames'))")
    for key, there in ((Keys.END, 63), (Keys.HOME, 0), (Keys.END, 63), (Keys.ARROW_LEFT, 62)):
        visit.press(key)
        visit.wait(f"{FOCUSED} === {there}")
        visit.wait(f"!document.querySelector('.loupe').hidden && {FOCUSED} === {there}")
    visit.press(Keys.ENTER)
    seconds = visit.js(f"Number({FRAMES}[62].dataset.seconds)")
    visit.wait(f"document.querySelector('#player video').currentTime >= {seconds} - 0.05")
    assert visit.ask(LONG.questions[0]) == LONG.answers[0]
    visit.driver.find_element(By.CSS_SELECTOR, "#player button[aria-label=Clear]").click()
    visit.wait("document.querySelector('#player input[type=file]')")
    visit.upload(clips.write_clip(tmp_path / "clip.mp4", 40, fps=10), num_frames=40)
    visit.wait("document.querySelector('#player video')?.videoWidth === 320")
    assert visit.ask("What do you see?")


def test_tab_and_a_press_between_frames_keep_the_focused_frame(visit: Visit) -> None:
    visit.pick(LONG.title)
    visit.js("document.querySelector('.film-size').focus()")
    visit.press(Keys.TAB, Keys.TAB)
    assert visit.js("document.activeElement.dataset.file") == "contact-sheet.jpg"
    visit.js("document.querySelector('.film-frames').focus()")
    visit.press("l", Keys.ARROW_RIGHT, Keys.TAB)
    assert visit.js(FOCUSED) == 0, "the frame that Tab reaches is not kept"
    assert visit.js("document.querySelectorAll('.trail > *').length") == 1


PLAYED = {"clip.mp4": {}, "clip.mkv": {}, "clip.webm": {"codec": "libvpx"}, "clip.avi": {"codec": "mpeg4"}}


@pytest.mark.parametrize("name", PLAYED)
def test_playable_files_get_no_message_and_no_preview(visit: Visit, tmp_path: Path, name: str) -> None:
    """The frame size may arrive a moment after the other metadata."""
    visit.upload(clips.write_clip(tmp_path / name, 20, fps=10, **PLAYED[name]), num_frames=20)
    visit.wait("document.querySelector('#player video')?.videoWidth === 320")
    visit.wait("document.querySelector('.preview').hidden")
    time.sleep(1.5)  # longer than the page waits for a frame
    assert visit.player()["line"] == ""
    assert "/longva/preview/" not in visit.player()["source"]


# WebKitGTK loads a GIF without any event, whatever its name.
@pytest.mark.parametrize("name", ["clip.gif", "clip.mp4"])
def test_a_gif_gets_a_preview(visit: Visit, tmp_path: Path, name: str) -> None:
    gif = clips.write_clip(tmp_path / "source.gif", 20, fps=10, codec="gif", pix_fmt="rgb8")
    visit.upload(gif.rename(tmp_path / name), num_frames=20)
    visit.wait("document.querySelector('.preview').textContent.includes('the player shows a small preview')")
    visit.wait("document.querySelector('#player video')?.videoWidth === 320")
    assert "/longva/preview/" in visit.player()["source"]


def test_dark_scrollbars_and_fields(driver: webdriver.WebKitGTK, address: str) -> None:
    visit = Visit(driver, f"{address}/?__theme=dark")
    visit.wait("document.querySelector('body.dark')")
    for name in ("html", ".groups", ".chat-log", ".budget-number"):
        assert visit.js(f"getComputedStyle(document.querySelector('{name}')).colorScheme") == "dark", name


def test_an_answer_can_be_copied(visit: Visit) -> None:
    visit.pick("Three shapes")
    answer = visit.ask("What do you see?")
    visit.wait("document.querySelector('.turn .sure')")  # the attribution redraws the buttons
    visit.driver.find_element(By.XPATH, "//*[contains(@class, 'tool') and text() = 'Copy']").click()
    visit.driver.find_element(By.CSS_SELECTOR, "#question textarea").click()
    ActionChains(visit.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    visit.wait("document.querySelector('#question textarea').value")
    assert visit.js("document.querySelector('#question textarea').value") == answer
