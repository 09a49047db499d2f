"""What is said and written: the panel's list, search, player and downloads, and lines with questions and refusals."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, expect

from tests.model.golden import COPY
from tests.support.browser import Visit
from tests.support.server import REPOSITORY, serving
from tests.support.speech import RATE, write_sound
from tests.support.written import load_font
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
CHECKPOINT = COPY / "a" / "checkpoint"
SPOKEN = REPOSITORY / "tests" / "data" / "spoken.ogg"
SIGN, SENTENCE_SECONDS = "Departures platform 7", 3.8


@pytest.fixture(scope="module")
def subtitled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    clip = write_clip(folder / "numbered.mp4", 60, fps=5)
    return add_tracks(clip, folder / "clip.mp4", Track("mov_text", CUES, "eng", encode=mov_text))


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence that espeak-ng speaks, in front of a sign."""
    picture = Image.new("RGB", (640, 360), (240, 240, 240))
    ImageDraw.Draw(picture).text((60, 150), SIGN, (20, 20, 20), load_font("DejaVuSans.ttf", 40))
    with av.open(str(SPOKEN)) as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    sound = np.concatenate(parts)[: round(SENTENCE_SECONDS * RATE)]
    return write_sound(tmp_path_factory.mktemp("words") / "talk.mp4", sound, picture_shown=np.asarray(picture))


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Visit]:
    """A page whose model has LongVA's shape and random weights: unlike the built-in one, it may be given lines."""
    with serving(tmp_path / "server.log", "--model", str(CHECKPOINT), LONGVA_MAX_NEW_TOKENS="8") as address:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        yield Visit(context, address)
        context.close()


def mov_text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data


def texts(visit: Visit) -> list[str]:
    found: list[str] = visit.page.eval_on_selector_all(".words .line bdi", "all => all.map((one) => one.textContent)")
    return found


def open_panel(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames()
    visit.page.get_by_role("tab", name="Words").click()
    expect(visit.page.locator(".words .line")).to_have_count(3, timeout=BUSY_MS)


def test_subtitles_are_listed_searched_and_played(visit: Visit, subtitled: Path) -> None:
    open_panel(visit, subtitled)
    page = visit.page
    assert texts(visit) == SHOWN
    assert page.eval_on_selector_all(".words .line time", "all => all.map((one) => one.textContent)") == [
        "0:01",
        "0:03",
        "0:06",
    ]
    assert page.locator(".words-list :is(img, b)").count() == 0, "a line is never markup"
    expect(page.locator(".words-notes li")).to_have_text("The subtitles are those of clip.mp4 (mov_text, eng).")
    page.fill(".words-search", "groesse")
    expect(page.locator(".words .line")).to_have_count(1, timeout=BUSY_MS)
    assert texts(visit) == SHOWN[1:2]
    page.fill(".words-search", "")
    expect(page.locator(".words .line")).to_have_count(3, timeout=BUSY_MS)
    page.click(".words .line >> nth=2")
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
    expect(page.locator(".words .line")).to_have_count(1, timeout=BUSY_MS)
    assert texts(visit) == ["Über die Brücke für größere Züge müssen wir"]
    expect(page.locator(".words-notes li")).to_have_text("The subtitles are those of own.srt (SubRip).")
    with page.expect_download() as download:
        page.click('.words-save [data-format="json"]')
    saved = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert saved == [{"start": 2.0, "end": 3.0, "text": texts(visit)[0], "source": "subtitles"}]
    assert download.value.suggested_filename == "clip.json"
    (tmp_path / "bad.srt").write_text("no subtitles")
    page.set_input_files(".words-file", str(tmp_path / "bad.srt"))
    visit.wait_for_toasts("bad.srt is not a subtitle file")
    expect(page.locator(".words-screen")).to_be_visible()  # it reads nothing any more
    assert len(texts(visit)) == 1
    # Another video has none of these lines.
    visit.pick("Three shapes")
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".words-notes li")).to_have_text("shapes.mp4 has no subtitles.", timeout=BUSY_MS)
    assert texts(visit) == []
    page.click(".words-screen")
    page.click(".words-stop")
    expect(page.locator(".words-screen")).to_be_visible(timeout=BUSY_MS)
    assert visit.complaints == []


def test_speech_and_text_in_frames_are_read_to_the_end_and_offered_below_a_refusal(visit: Visit, talk: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".words-state")).to_have_text("Choose a video first.")
    visit.upload(talk)
    visit.wait_for_frames()
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".words-speech")).to_have_text(re.compile(r"\(about [\d.]+ s\)"))
    for button in (".words-speech", ".words-screen"):
        page.click(button)
        expect(page.locator(button)).to_be_hidden()
        expect(page.locator(button)).to_be_visible(timeout=BUSY_MS)
    written, said = texts(visit)
    assert (written, "lecture" in said, "morning" in said) == (SIGN, True, True)
    expect(page.locator(".words-state")).to_have_text("2 lines")
    expect(page.locator(".words-give")).to_be_hidden()  # this model cannot read them
    visit.ask("When does the lecture begin?")
    found = page.locator(".turn .lines")
    expect(found.locator("summary")).to_have_text("Found in what is said and written")
    expect(found.locator("bdi")).to_have_text([said])
    found.locator(".line").click()
    page.wait_for_function("document.querySelector('#player video').currentTime >= 0.5")
    expect(page.locator("#cost")).not_to_contain_text("said and written")
    assert visit.complaints == []


def test_the_model_is_given_the_lines(reader: Visit, subtitled: Path) -> None:
    """The subtitles are read although the panel was never opened, counted, given, linked, compared and recorded."""
    page, lines = reader.page, reader.page.locator(".turn .lines")
    reader.upload(subtitled)
    reader.wait_for_frames()
    expect(page.locator("#cost")).to_contain_text("of the tokens are 3 lines of what is said and written.")
    reader.ask("What is said?")
    expect(lines.locator("summary")).to_have_text("3 lines the model was given")
    expect(lines.locator("li").first).to_be_hidden()
    lines.locator("summary").click()
    expect(lines.locator("bdi")).to_have_text(SHOWN)
    assert lines.locator("img, b").count() == 0, "a line is never markup"
    lines.locator(".line").last.click()
    page.wait_for_function("document.querySelector('#player video').currentTime >= 6")
    page.click('.turn .tool:has-text("Compare budgets")')
    expect(page.locator(".budgets tr", has_text="32, without lines")).to_be_visible(timeout=BUSY_MS)
    page.click("#question .stop-button")  # without the windows
    expect(page.locator("#question .submit-button")).to_be_visible()
    with_lines, without = (page.locator(".budgets tr", has_text=f"32{name}") for name in (" (this", ", without"))
    assert num_tokens(with_lines) > num_tokens(without)
    with page.expect_download() as download:
        page.click('.chat-tools [data-format="json"]')
    (turn,) = json.loads(Path(download.value.path()).read_text("utf-8"))["turns"]
    assert [line["text"] for line in turn["lines"]] == SHOWN
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".words-give")).to_be_checked()  # once it is drawn
    page.uncheck(".words-give")
    expect(page.locator("#cost")).not_to_contain_text("said and written")
    page.click('.turn [data-tool="retry"]')
    expect(lines).to_have_count(0, timeout=BUSY_MS)
    reader.wait_for_answer(1)
    expect(lines).to_have_count(0)
    assert reader.complaints == []


def num_tokens(row: Locator) -> int:
    return int(row.locator("td").last.inner_text().replace("\u202f", ""))
