"""Pictures and videos that browsers cannot show, or show on another background, look as the model gets them."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator

from tests.support.browser import Visit
from tests.video.clips import numbered_picture, read_number
from tests.video.heif import coded, write_heic

SLOW = 120_000  # ms
PICTURE = """(image) => {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
}"""


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    visit = Visit(context, address)
    visit.page.set_default_timeout(SLOW)
    yield visit
    context.close()


def as_seen(place: Locator) -> np.ndarray:
    with Image.open(io.BytesIO(place.screenshot())) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_photo_that_the_browser_cannot_show_is_shown(visit: Visit, tmp_path: Path) -> None:
    path = write_heic(tmp_path / "IMG_0002.HEIC", [coded(numbered_picture(37))])
    visit.upload(path)
    visit.page.wait_for_function("() => document.querySelector('#picture img:not(.upload-view)')?.naturalWidth === 320")
    encoded = visit.page.locator("#picture img:not(.upload-view)").evaluate(PICTURE).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        assert read_number(np.asarray(picture.convert("RGB"))) == 37


def test_a_transparent_picture_is_on_white(visit: Visit, tmp_path: Path) -> None:
    rgba = np.zeros((200, 300, 4), dtype=np.uint8)
    rgba[50:150, 100:200] = 200, 0, 0, 255
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    visit.upload(tmp_path / "clear.png")
    visit.page.wait_for_function("() => document.querySelector('#picture img:not(.upload-view)')?.naturalWidth === 300")
    seen = as_seen(visit.page.locator("#picture img:not(.upload-view)"))
    assert seen[10, 10].tolist() == [255, 255, 255]
    assert seen[100, 150].tolist() == [200, 0, 0]


def test_a_transparent_video_is_on_white_between_dark_bars(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "clear.webm"
    with av.open(str(path), "w") as output:
        track = output.add_stream("libvpx-vp9", rate=10)
        track.width, track.height, track.pix_fmt = 200, 200, "yuva420p"
        rgba = np.zeros((200, 200, 4), dtype=np.uint8)
        rgba[50:150, 50:150] = 200, 0, 0, 255
        for place in range(12):
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva420p")
            frame.pts = place
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    visit.upload(path)
    visit.page.wait_for_selector("#player video[data-white]")
    seen = as_seen(visit.page.locator("#player video")).astype(int)
    middle = seen.shape[1] // 2
    assert (seen[40, middle - 60] > 250).all()
    assert (np.abs(seen[seen.shape[0] // 2, middle] - (200, 0, 0)) < 20).all()
    assert (seen[40, 10] < 40).all()


def test_an_ordinary_video_gets_no_white(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.page.wait_for_function("() => document.querySelector('#player video')?.readyState >= 2")
    visit.page.locator(".film button").nth(2).click()
    visit.page.wait_for_function("() => document.querySelector('#player video').currentTime > 0")
    assert visit.page.locator("#player video[data-white]").count() == 0
