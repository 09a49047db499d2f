"""Files that the browser cannot play: the player shows a preview with the same times, and the model gets the file."""

import base64
import io
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from tests.support.browser import Visit
from tests.video.clips import read_number, write_clip

SLOW = 120_000  # ms: a preview takes a second on an idle machine
PLAYS = "() => document.querySelector('#player video')?.readyState >= 2"
# The frame that the player shows, as a data URL.
PICTURE = """() => {
  const video = document.querySelector("#player video"), canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL("image/png");
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unplayable")


@pytest.fixture
def visit(visit: Visit) -> Visit:
    visit.page.set_default_timeout(SLOW)
    return visit


def number_shown(visit: Visit) -> int:
    encoded = visit.page.evaluate(PICTURE).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        return read_number(np.asarray(picture.convert("RGB")))


def seek_by_frame(visit: Visit, place: int) -> float:
    """Click a sampled frame, wait for the player, and pause it. Returns the frame's time."""
    seconds = visit.frame_seconds[place]
    visit.page.locator(".film button").nth(place).click()
    visit.page.wait_for_function(
        f"() => {{ const video = document.querySelector('#player video');"
        f" return !video.seeking && video.readyState >= 2 && Math.abs(video.currentTime - {seconds}) < 0.01; }}"
    )
    return seconds


def expect_number(visit: Visit, number: int) -> None:
    """Wait until the player shows this frame, a moment after the seek."""
    end = time.monotonic() + 10
    while (shown := number_shown(visit)) != number and time.monotonic() < end:
        visit.page.wait_for_timeout(50)
    assert shown == number


CLIPS = {
    "clip.avi": {"codec": "mpeg4", "options": {"g": "15", "bf": "2"}},
    "clip.mp4": {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=error:keyint=24"}},
    "late.ts": {"times": lambda place: 5 + place / 10, "time_base": Fraction(1, 90_000)},
    "clip.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@pytest.mark.parametrize("name", CLIPS)
def test_a_preview_plays_and_a_click_on_a_frame_seeks_it(visit: Visit, folder: Path, name: str) -> None:
    path = write_clip(folder / name, 40, fps=10, **CLIPS[name])
    visit.upload(path)
    visit.wait_for_frames(32)
    visit.page.wait_for_function(PLAYS)
    expect(visit.page.locator("#preview")).to_contain_text("the player shows a small preview", timeout=SLOW)
    assert "/longva/preview/" in visit.page.eval_on_selector("#player video", "video => video.currentSrc")
    assert visit.page.eval_on_selector("#player video", "video => [video.videoWidth, video.duration]") == [320, 4]
    visit.page.locator(".film button").nth(1).click()
    visit.page.wait_for_function("() => document.querySelector('#player video').currentTime > 0.3")
    visit.page.eval_on_selector("#player video", "video => { video.pause(); video.play = async () => {}; }")
    for place in (20, 5, 31):
        seconds = seek_by_frame(visit, place)
        expect_number(visit, round(seconds * 10))
    assert visit.page.locator(".toast-body").count() == 0
    assert visit.page.locator("#player .error").count() == 0
    # Questions are about the file itself.
    expect(visit.page.locator("#about")).to_contain_text(name, timeout=SLOW)
    assert visit.ask("What do you see?")
    assert visit.complaints == []


def test_another_video_replaces_the_preview(visit: Visit, folder: Path, clip: Path) -> None:
    visit.upload(write_clip(folder / "first.avi", 40, fps=10, **CLIPS["clip.avi"]))
    visit.page.wait_for_function(PLAYS)
    preview = visit.page.eval_on_selector("#player video", "video => video.currentSrc")
    assert visit.page.request.get(preview, headers={"Range": "bytes=0-99"}).status == 206
    visit.page.click("#player button[aria-label=Clear]")
    expect(visit.page.locator("#preview")).to_be_hidden(timeout=SLOW)
    visit.upload(clip)
    visit.wait_for_frames(32)
    visit.page.wait_for_function(PLAYS)
    assert "/longva/preview/" not in visit.page.eval_on_selector("#player video", "video => video.currentSrc")
    expect(visit.page.locator("#preview")).to_be_hidden(timeout=SLOW)
    assert visit.page.request.get(preview).status == 404


def test_a_click_shows_exactly_this_frame(visit: Visit, folder: Path) -> None:
    """A thirtieth of a second has infinitely many decimals. Rounded down, it would show the previous frame."""
    visit.upload(write_clip(folder / "thirtieths.mp4", 20, fps=30))
    visit.wait_for_frames(20)
    visit.page.wait_for_function(PLAYS)
    visit.page.eval_on_selector("#player video", "video => { video.play = async () => {}; }")
    for place in (1, 2, 7, 16, 19):
        seek_by_frame(visit, place)
        expect_number(visit, place)


def test_a_file_that_this_browser_plays_needs_no_preview(visit: Visit, folder: Path) -> None:
    """Some browsers play Matroska."""
    visit.upload(write_clip(folder / "clip.mkv", 20, fps=10))
    visit.page.wait_for_function(PLAYS)
    visit.wait_for_frames(20)
    assert "/longva/preview/" not in visit.page.eval_on_selector("#player video", "video => video.currentSrc")
    expect(visit.page.locator("#preview")).to_be_hidden(timeout=SLOW)


def test_a_file_that_is_not_a_video_gets_no_message(visit: Visit, folder: Path) -> None:
    bad = folder / "notes.avi"
    bad.write_text("these are not pictures")
    visit.upload(bad)
    visit.wait_for_toasts("notes.avi is a text file")
    expect(visit.page.locator("#preview")).to_be_hidden(timeout=SLOW)


def test_without_a_preview_frames_and_questions_work(visit: Visit, folder: Path) -> None:
    """A preview does not help if the connection of an ordinary file breaks. A message says so."""
    visit.page.route("**/file=**/broken.mp4", lambda route: route.abort())
    visit.upload(write_clip(folder / "broken.mp4", 20, fps=10))
    visit.wait_for_frames(20)
    expect(visit.page.locator("#preview")).to_contain_text("may not be able to play this file", timeout=SLOW)
    assert visit.page.locator(".toast-body").count() == 0
    assert visit.ask("What do you see?")


# Like browsers that report the frame size after the other metadata: none until `sized` is called.
SIZED_LATE = """(() => {
  const { get } = Object.getOwnPropertyDescriptor(HTMLVideoElement.prototype, "videoWidth");
  let isSized = false;
  Object.defineProperty(HTMLVideoElement.prototype, "videoWidth", { get() { return isSized ? get.call(this) : 0; } });
  window.sized = () => {
    isSized = true;
    document.querySelector("#player video").dispatchEvent(new Event("resize"));
  };
})()"""


def test_a_late_frame_size_removes_the_message(visit: Visit, folder: Path) -> None:
    visit.page.evaluate(SIZED_LATE)
    visit.upload(write_clip(folder / "sized.mp4", 20, fps=10))
    visit.page.wait_for_function(PLAYS)
    expect(visit.page.locator("#preview")).to_contain_text("may not be able to play this file", timeout=SLOW)
    visit.page.evaluate("window.sized()")
    expect(visit.page.locator("#preview")).to_be_hidden(timeout=SLOW)
    assert "/longva/preview/" not in visit.page.eval_on_selector("#player video", "video => video.currentSrc")


def test_a_file_without_metadata_has_a_message_until_they_arrive(visit: Visit, folder: Path) -> None:
    """Some browsers report neither an error nor metadata for files that they cannot play."""
    waiting: list[Route] = []
    visit.page.route("**/file=**/silent.mp4", lambda route: waiting.append(route))
    visit.upload(write_clip(folder / "silent.mp4", 20, fps=10))
    expect(visit.page.locator("#preview")).to_contain_text("may not be able to play this file", timeout=SLOW)
    assert waiting
    for route in waiting:
        route.continue_()
    visit.page.wait_for_function(PLAYS)
    expect(visit.page.locator("#preview")).to_be_hidden(timeout=SLOW)


def test_a_video_of_which_only_the_sound_plays_gets_a_preview(visit: Visit, folder: Path) -> None:
    """Chromium plays the sound of an MP4 whose video it cannot decode, and reports no error."""
    path = write_clip(folder / "sounding.mp4", 20, fps=10, codec="mpeg4", audio_seconds=2)
    visit.upload(path)
    expect(visit.page.locator("#preview")).to_contain_text("the player shows a small preview", timeout=SLOW)
