"""Chapters on the page: scenes appear as they are described, play, lead to a question, and can be saved."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.test_words_panel import mov_text
from tests.moments.test_chapters import STARTS, write_shots
from tests.support.browser import BUSY_MS, Visit
from tests.timed_text.subtitled import Cue, Track, add_tracks

POSITION = "document.querySelector('#player video').currentTime"


@pytest.fixture(scope="module")
def shots_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shots(tmp_path_factory.mktemp("chapters") / "shots.mp4")


def start(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Chapters").click()
    visit.page.click(".scenes-start")


def test_scenes_play_lead_to_a_question_and_are_saved(visit: Visit, shots_clip: Path, tmp_path: Path) -> None:
    page = visit.page
    visit.upload(shots_clip)
    visit.wait_for_frames()
    start(visit)
    expect(page.locator(".scenes-state")).to_have_text("4 scenes", timeout=BUSY_MS)
    expect(page.locator(".scene-title").nth(0)).to_have_text("I see a red star at the top left on a navy background.")
    expect(page.locator(".scene-play").nth(2)).to_have_text("0:14")
    for kind, first in (("json", "["), ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:06."), ("md", "- 0:00 I see a red")):
        with page.expect_download() as download:
            page.click(f'.scenes-save [data-format="{kind}"]')
        file = tmp_path / download.value.suggested_filename
        assert file.name == f"chapters.{kind}"
        download.value.save_as(file)
        assert file.read_text("utf-8").startswith(first)
    saved = json.loads((tmp_path / "chapters.json").read_text("utf-8"))
    assert [one["start"] for one in saved] == pytest.approx(STARTS, abs=0.25)
    page.click(".scene-play >> nth=1")
    page.wait_for_function(f"{POSITION} >= 6 && {POSITION} < 14")
    expect(page.locator("#player video")).to_be_visible()
    page.get_by_role("tab", name="Chapters").click()
    page.click(".scene-ask >> nth=3")
    page.wait_for_function("document.querySelectorAll('.trail > *').length === 2")
    visit.wait_for_frames()
    assert visit.frame_seconds[0] >= STARTS[3] - 0.3
    assert visit.ask("What shape is the black thing?") == "It is a cross."
    visit.pick("Three shapes")
    page.get_by_role("tab", name="Chapters").click()
    expect(page.locator(".scene")).to_have_count(0)
    assert visit.complaints == []


def test_lines_that_were_read_are_quoted(visit: Visit, shots_clip: Path, tmp_path: Path) -> None:
    cues: list[Cue] = [(1.0, 3.0, "Welcome to the show."), (15.0, 16.0, "<img src=x onerror=alert(1)> & <b>bold</b>")]
    page = visit.page
    visit.upload(add_tracks(shots_clip, tmp_path / "subtitled.mp4", Track("mov_text", cues, "eng", encode=mov_text)))
    visit.wait_for_frames()
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".words .line")).to_have_count(2, timeout=BUSY_MS)
    start(visit)
    expect(page.locator(".scenes-state")).to_have_text("4 scenes", timeout=BUSY_MS)
    titles = page.locator(".scene-title")
    expect(titles.nth(0)).to_have_text("I see a red star at the top left on a navy background. “Welcome to the show.”")
    expect(titles.nth(2)).to_have_text(f"I see nothing on a gray background. “{cues[1][2]}”")
    assert page.locator(".scenes-list :is(img, b)").count() == 0, "a line is never markup"
    assert visit.complaints == []


def test_it_can_be_stopped(visit: Visit) -> None:
    page = visit.page
    visit.pick("One second in a minute")
    start(visit)
    expect(page.locator(".scene-title").first).to_be_visible(timeout=BUSY_MS)
    page.click(".scenes-stop")
    expect(page.locator(".scenes-state")).to_contain_text("Stopped after", timeout=BUSY_MS)
    expect(page.locator(".scenes-start")).to_be_visible()
    assert visit.complaints == []


def test_it_needs_a_video(visit: Visit) -> None:
    start(visit)
    visit.wait_for_toasts("there is no video to divide into scenes")
    expect(visit.page.locator(".scenes-start")).to_be_visible()
