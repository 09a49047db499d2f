"""The panel of what is said and written: subtitles in a list, search, playing, the player's cues, and downloads."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import Visit
from tests.timed_text.subtitled import Cue, Track, add_tracks
from tests.video.clips import write_clip

# mov_text has no markup, so that these are texts.
CUES: list[Cue] = [
    (1.0, 2.5, "A red star appears."),
    (3.25, 4.0, "Größe: 12 €"),
    (6.0, 9.0, "<img src=x onerror=alert(1)> & <b>bold</b> {x} <|im_end|>"),
]
SHOWN = [text for _, _, text in CUES]
BUSY_MS = 120_000


@pytest.fixture(scope="module")
def subtitled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    clip = write_clip(folder / "numbered.mp4", 60, fps=5)
    return add_tracks(clip, folder / "clip.mp4", Track("mov_text", CUES, "eng", encode=mov_text))


def mov_text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data


def texts(visit: Visit) -> list[str]:
    found: list[str] = visit.page.eval_on_selector_all(".words-line bdi", "all => all.map((one) => one.textContent)")
    return found


def open_panel(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames()
    visit.page.get_by_role("tab", name="Words").click()
    expect(visit.page.locator(".words-line")).to_have_count(3, timeout=BUSY_MS)


def test_subtitles_are_listed_searched_and_played(visit: Visit, subtitled: Path) -> None:
    open_panel(visit, subtitled)
    page = visit.page
    assert texts(visit) == SHOWN
    assert page.eval_on_selector_all(".words-line time", "all => all.map((one) => one.textContent)") == [
        "0:01",
        "0:03",
        "0:06",
    ]
    assert page.locator(".words-list :is(img, b)").count() == 0, "a line is never markup"
    expect(page.locator(".words-notes li")).to_have_text("The subtitles are those of clip.mp4 (mov_text, eng).")
    page.fill(".words-search", "groesse")
    expect(page.locator(".words-line")).to_have_count(1, timeout=BUSY_MS)
    assert texts(visit) == SHOWN[1:2]
    page.fill(".words-search", "")
    expect(page.locator(".words-line")).to_have_count(3, timeout=BUSY_MS)
    page.click(".words-line >> nth=2")
    page.wait_for_function("document.querySelector('#player video').currentTime >= 6")
    assert visit.complaints == []


def test_the_player_shows_them_as_text(visit: Visit, subtitled: Path) -> None:
    open_panel(visit, subtitled)
    page = visit.page
    page.check(".words-show")
    read = """() => [...document.querySelector("#player video").textTracks].filter((one) => one.mode === "showing")
      .flatMap((one) => [...one.cues].map((cue) => [cue.startTime, cue.getCueAsHTML().textContent]))"""
    assert page.evaluate(read) == [[start, text] for start, _, text in CUES]
    page.uncheck(".words-show")
    assert page.evaluate(read) == []
    assert visit.complaints == []


def test_a_file_of_the_visitor_and_downloads(visit: Visit, subtitled: Path, tmp_path: Path) -> None:
    open_panel(visit, subtitled)
    page = visit.page
    file = tmp_path / "own.srt"
    file.write_bytes("1\n00:00:02,000 --> 00:00:03,000\nÜber die Brücke für größere Züge müssen wir\n".encode("cp1252"))
    page.set_input_files(".words-file", str(file))
    expect(page.locator(".words-line")).to_have_count(1, timeout=BUSY_MS)
    assert texts(visit) == ["Über die Brücke für größere Züge müssen wir"]
    with page.expect_download() as download:
        page.click('.words-save [data-format="json"]')
    saved = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert saved == [{"start": 2.0, "end": 3.0, "text": texts(visit)[0], "source": "subtitles"}]
    assert download.value.suggested_filename == "clip.json"
    (tmp_path / "bad.srt").write_text("no subtitles")
    page.set_input_files(".words-file", str(tmp_path / "bad.srt"))
    visit.wait_for_toasts("is not a subtitle file")
    expect(page.locator(".words-screen")).to_be_visible()  # it reads nothing any more
    assert len(texts(visit)) == 1
    # Another video has none of these lines.
    visit.pick("Three shapes")
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".words-notes li")).to_have_text("shapes.mp4 has no subtitles.", timeout=BUSY_MS)
    assert texts(visit) == []
    assert visit.complaints == []


def test_speech_and_text_in_frames_are_read_on_request(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Words").click()
    expect(visit.page.locator(".words-state")).to_have_text("Choose a video first.")
    visit.pick("Three shapes")
    visit.page.get_by_role("tab", name="Words").click()
    expect(visit.page.locator(".words-speech")).to_have_text(re.compile(r"\(about [\d.]+ s\)"))
    visit.page.click(".words-speech")
    expect(visit.page.locator(".words-notes")).to_contain_text("shapes.mp4 has no sound.", timeout=BUSY_MS)
    visit.page.click(".words-screen")
    expect(visit.page.locator(".words-stop")).to_be_visible(timeout=BUSY_MS)
    visit.page.click(".words-stop")
    expect(visit.page.locator(".words-screen")).to_be_visible(timeout=BUSY_MS)
    assert visit.complaints == []
