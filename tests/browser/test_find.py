"""Search on the page: the curve grows on the timeline, ranges play, zoom and lead to a question, and can be saved."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.test_layout import edges
from tests.moments.conftest import CIRCLE, STAR, scenes_with, write_scenes
from tests.support.browser import BUSY_MS, Visit

POSITION = "document.querySelector('#player video').currentTime"
# Where the curve's colour is painted on the middle row of the timeline, as shares of its width.
BANDS = """() => {
  const canvas = document.querySelector(".track canvas"), { width, height } = canvas;
  const row = canvas.getContext("2d").getImageData(0, 2, width, 1).data;
  return [...Array(width).keys()].filter((x) => row[4 * x + 3] > 40).map((x) => x / width);
}"""
# The numbers of frames on the curve, each time it changes.
WATCH = """() => {
  window.curve = [];
  const timeline = document.querySelector(".timeline");
  new MutationObserver(() => {
    const count = Number(timeline.dataset.curve);
    if (count !== window.curve.at(-1)) window.curve.push(count);
  }).observe(timeline, { attributes: true });
}"""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("find") / "events.mp4", scenes_with(STAR, CIRCLE))


@pytest.fixture
def desk(visit: Visit, events: Path) -> Visit:
    visit.upload(events)
    visit.wait_for_frames()
    return visit


def find(visit: Visit, query: str) -> None:
    visit.page.fill(".find input", query)
    visit.page.press(".find input", "Enter")


def test_a_range_plays_and_the_curve_grows(desk: Visit) -> None:
    page = desk.page
    page.evaluate(WATCH)
    find(desk, "a red star")
    expect(page.locator(".found-state")).to_have_text("Found 1 time", timeout=BUSY_MS)
    counts = page.evaluate("window.curve")
    assert counts == sorted(counts)
    assert len([count for count in counts if count]) > 1, "the curve came in one piece"
    bands = page.evaluate(BANDS)
    assert min(bands) * 40 == pytest.approx(12.3, abs=0.6)
    assert max(bands) * 40 == pytest.approx(18.1, abs=0.6)
    assert re.fullmatch(r"0:1[12]\.\d to 0:1[78]\.\d", page.inner_text(".found-play"))
    page.click(".found-play")
    page.wait_for_function(f"{POSITION} >= 12 && {POSITION} < 18")
    assert desk.complaints == []


def test_nothing_is_found_where_there_is_nothing(desk: Visit) -> None:
    find(desk, "a green triangle")
    expect(desk.page.locator(".found-state")).to_contain_text("Not found in", timeout=BUSY_MS)
    expect(desk.page.locator(".found-range")).to_have_count(0)
    find(desk, "When does the star appear?")
    expect(desk.page.locator(".found-state")).to_contain_text("may not know", timeout=BUSY_MS)
    assert desk.complaints == []


def test_look_closer_and_ask_about_a_range(desk: Visit) -> None:
    page = desk.page
    find(desk, "a yellow circle")
    expect(page.locator(".found-range")).to_have_count(1, timeout=BUSY_MS)
    page.click(".found-ask")
    page.wait_for_function("document.querySelectorAll('.trail > *').length === 2")
    desk.wait_for_frames()
    seconds = desk.frame_seconds
    assert 24 < seconds[0] < 27.1
    assert 31.3 < seconds[-1] < 34
    assert page.evaluate("document.activeElement.matches('#question textarea')")
    # What was found stays, at its new place.
    bands = page.evaluate(BANDS)
    assert 0 < min(bands) < max(bands) < 1
    assert desk.ask("What colour is the circle?") == "It is yellow."
    page.click(".trail button")
    desk.wait_for_frames()
    page.click(".found-closer")
    page.wait_for_function("document.querySelectorAll('.trail > *').length === 2")
    assert desk.complaints == []


def test_another_file_clears_it(desk: Visit) -> None:
    find(desk, "a red star")
    expect(desk.page.locator(".found-range")).to_have_count(1, timeout=BUSY_MS)
    desk.pick("Three shapes")
    expect(desk.page.locator(".found")).to_be_hidden()
    assert desk.page.input_value(".find input") == ""
    assert desk.complaints == []


def test_a_search_can_be_stopped_and_the_chat_stays_usable(visit: Visit) -> None:
    page = visit.page
    page.set_default_timeout(BUSY_MS)
    visit.pick("One second in a minute")
    page.fill(".budget-number", "500")
    page.press(".budget-number", "Enter")
    visit.wait_for_frames(500)
    find(visit, "a red star")
    page.wait_for_function("Number(document.querySelector('.timeline').dataset.curve) > 0", timeout=BUSY_MS)
    page.click(".find-stop")
    expect(page.locator(".found-state")).to_contain_text("Stopped after", timeout=BUSY_MS)
    assert 0 < int(page.get_attribute(".timeline", "data-curve") or 0) < 500
    expect(page.locator(".find-start")).to_be_visible()
    find(visit, "a red star")
    visit.submit("What number appears in the video?")
    visit.wait_for_answer(1)
    assert visit.complaints == []


def test_saving_what_was_found(desk: Visit, tmp_path: Path) -> None:
    page = desk.page
    find(desk, "a red star")
    expect(page.locator(".found-save")).to_be_visible(timeout=BUSY_MS)
    texts = {}
    for kind in ("json", "csv", "vtt"):
        with page.expect_download() as download:
            page.click(f'.found-save [data-format="{kind}"]')
        file = tmp_path / download.value.suggested_filename
        assert file.name == f"a-red-star-moments.{kind}"
        download.value.save_as(file)
        texts[kind] = file.read_text("utf-8")
    saved = json.loads(texts["json"])
    assert set(saved) == {"query", "frames", "ranges"}
    [one] = saved["ranges"]
    assert one["start"] == pytest.approx(12.3, abs=0.5)
    assert texts["csv"].splitlines()[0] == "start,end,score,best"
    assert texts["csv"].splitlines()[1].startswith(f"{one['start']:.3f},{one['end']:.3f},")
    assert texts["vtt"].startswith("WEBVTT\n\n00:00:1")
    assert texts["vtt"].endswith("\na red star\n")
    assert desk.complaints == []


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720), (390, 844)])
def test_what_is_found_fits_the_window(desk: Visit, width: int, height: int) -> None:
    page = desk.page
    page.set_viewport_size({"width": width, "height": height})
    find(desk, "a red star")
    expect(page.locator(".found-range")).to_have_count(1, timeout=BUSY_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width > 900:
        for part in ("#player", "#timeline", "#budget", "#cost", "#frames", "#question"):
            top, bottom = edges(page, part)
            assert 0 <= top < bottom <= height, part
    assert desk.complaints == []
