"""The timeline: samples, seeking, selecting a range, and the trail back."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Visit

DURATION = 60.0
POSITION = "document.querySelector('#player video').currentTime"


@pytest.fixture
def desk(visit: Visit) -> Iterator[Visit]:
    """A one-minute example with its 64 frames."""
    visit.page.set_default_timeout(120_000)
    visit.pick("One second in a minute")
    visit.page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    visit.page.locator(".track").scroll_into_view_if_needed()
    yield visit
    assert visit.complaints == []


def place(page: Page, seconds: float) -> tuple[float, float]:
    """Where a moment is on the track, which spans the present range."""
    track = page.locator(".track")
    start, end = (float(track.get_attribute(f"aria-value{name}") or "nan") for name in ("min", "max"))
    box = track.bounding_box()
    assert box is not None
    return box["x"] + box["width"] * (seconds - start) / (end - start), box["y"] + box["height"] / 2


def drag(page: Page, start: float, end: float) -> None:
    page.mouse.move(*place(page, start))
    page.mouse.down()
    page.mouse.move(*place(page, (start + end) / 2))
    page.mouse.move(*place(page, end))
    page.mouse.up()


def fields(page: Page) -> tuple[str, str]:
    return page.input_value("#start textarea, #start input"), page.input_value("#end textarea, #end input")


def wait_for_range(visit: Visit, start: float, end: float, count: int = 64) -> None:
    visit.page.wait_for_function(
        """([start, end, count]) => {
          const film = document.querySelector('.film[data-state="done"]');
          const buttons = [...(film?.querySelectorAll("button[data-seconds]") ?? [])];
          const times = buttons.map((button) => Number(button.dataset.seconds));
          return times.length === count && times[0] >= start && times.at(-1) <= end;
        }""",
        arg=[start, end, count],
    )


# Where the canvas is painted, as shares of its width.
DRAWN = """() => {
  const canvas = document.querySelector(".track canvas");
  const { width, height } = canvas, row = canvas.getContext("2d").getImageData(0, height >> 1, width, 1).data;
  return [...Array(width).keys()].filter((x) => row[4 * x + 3] > 0).map((x) => x / width);
}"""


def test_samples_are_drawn_at_their_times_on_one_canvas(desk: Visit) -> None:
    page = desk.page
    width = page.locator(".track canvas").evaluate("canvas => canvas.width")
    drawn = page.evaluate(DRAWN)
    for seconds in desk.frame_seconds:
        assert min(abs(share - seconds / DURATION) for share in drawn) <= 2 / width, seconds
    assert len(drawn) < 64 * 3, "the strip is not filled, so that gaps are seen"
    assert page.locator(".track *").count() < 8
    # 1,500 frames add no elements, and a single frame is still visible.
    page.fill(".budget-number", "2000")
    page.press(".budget-number", "Enter")
    desk.wait_for_frames(1500)
    assert page.locator(".track *").count() < 8
    assert len(page.evaluate(DRAWN)) > 0.95 * width
    page.fill(".budget-number", "1")
    page.press(".budget-number", "Enter")
    desk.wait_for_frames(1)
    assert 1 <= len(page.evaluate(DRAWN)) <= 3


def test_hover_shows_the_time_and_a_click_seeks(desk: Visit) -> None:
    page = desk.page
    page.mouse.move(*place(page, 45.2))
    expect(page.locator(".track-hover")).to_have_text("0:45")
    page.mouse.click(*place(page, 45.2))
    page.wait_for_function(f"Math.abs({POSITION} - 45.2) < 0.3")
    assert fields(page) == ("", "")
    share = page.evaluate("parseFloat(document.querySelector('.track-head').style.left)")
    assert share == pytest.approx(100 * 45.2 / DURATION, abs=1)


def test_a_drag_selects_a_range_and_the_trail_leads_back(desk: Visit) -> None:
    page = desk.page
    before = desk.frame_seconds
    drag(page, 40, 20)
    wait_for_range(desk, 19.5, 40.5)
    start, end = fields(page)
    assert start.startswith("0:2")
    assert end.startswith("0:4") or end.startswith("0:39")
    expect(page.locator(".trail")).to_contain_text("Whole video0:")
    drag(page, 25, 30)
    wait_for_range(desk, 24.5, 30.5)
    assert page.locator(".trail > *").count() == 3
    page.click(".trail button >> nth=1")
    wait_for_range(desk, 19.5, 40.5)
    page.click(".trail button >> nth=0")
    page.wait_for_function(
        "(last) => Number([...document.querySelectorAll('.film button')].at(-1)?.dataset.seconds) === last",
        arg=before[-1],
    )
    desk.wait_for_frames(64)
    assert fields(page) == ("", "")
    assert desk.frame_seconds == before
    expect(page.locator(".trail")).to_have_text("Whole video")
    expect(page.locator(".track-range")).to_be_hidden()


def test_the_track_spans_the_present_range(desk: Visit) -> None:
    page, track = desk.page, desk.page.locator(".track")
    drag(page, 40, 20)
    wait_for_range(desk, 19.5, 40.5)
    drawn = page.evaluate(DRAWN)
    assert drawn[0] < 0.05
    assert drawn[-1] > 0.93
    assert float(track.get_attribute("aria-valuemin") or "nan") == pytest.approx(20, abs=0.3)
    assert float(track.get_attribute("aria-valuemax") or "nan") == pytest.approx(40, abs=0.3)
    page.mouse.click(*place(page, 33))
    page.wait_for_function(f"Math.abs({POSITION} - 33) < 0.2")
    expect(page.locator(".track-head")).to_be_visible()
    page.evaluate("document.querySelector('#player video').currentTime = 50")
    expect(page.locator(".track-head")).to_be_hidden()
    page.click(".trail button >> nth=0")
    wait_for_range(desk, 0, 60)
    expect(page.locator(".track-head")).to_be_visible()
    assert track.get_attribute("aria-valuemax") == "60"


def test_the_pointer_shows_the_frame_at_its_time(desk: Visit) -> None:
    page = desk.page
    page.mouse.move(*place(page, 38.5))
    thumbnail = page.locator(".track-hover b")
    expect(thumbnail).to_be_visible()
    index = sum(seconds <= 38.5 for seconds in desk.frame_seconds) - 1
    picture = page.locator(".film-picture").nth(index)
    names = ("backgroundImage", "backgroundPosition")
    style = "(node, names) => names.map((name) => node.style[name])"
    assert thumbnail.evaluate(style, names) == picture.evaluate(style, names)
    box = thumbnail.bounding_box()
    assert box is not None
    assert box["width"] > 100
    assert box["height"] > 60


def test_i_and_o_set_the_start_and_the_end(desk: Visit) -> None:
    page = desk.page
    page.mouse.click(*place(page, 12))
    page.focus(".track")
    page.keyboard.press("i")
    expect(page.locator(".track")).to_have_attribute("aria-valuetext", re.compile("^selected 0:1[12] to 1:00;"))
    page.mouse.move(0, 0)
    page.evaluate("document.querySelector('#player video').currentTime = 24")
    page.wait_for_function(f"{POSITION} === 24")
    page.keyboard.press("o")
    expect(page.locator(".track")).to_have_attribute("aria-valuetext", re.compile("^selected 0:1[12] to 0:24;"))
    page.keyboard.press("Enter")
    wait_for_range(desk, 11.5, 24.5)


def test_the_keyboard_moves_and_selects(desk: Visit) -> None:
    page = desk.page
    page.focus(".track")
    for _ in range(3):
        page.keyboard.press("PageUp")
    page.wait_for_function(f"Math.abs({POSITION} - 18) < 0.3")
    expect(page.locator(".track")).to_have_attribute("aria-valuetext", "0:18 of 1:00")
    page.keyboard.press("Shift+PageUp")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator(".track")).to_have_attribute(
        "aria-valuetext", "selected 0:18.0 to 0:23.4; press Enter to look closer"
    )
    page.keyboard.press("Escape")
    expect(page.locator(".track-range")).to_be_hidden()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+PageUp")
    page.keyboard.press("Enter")
    wait_for_range(desk, 0, 6.1)
    assert fields(page) == ("", "0:06")


def test_look_closer_selects_the_range_around_a_frame(desk: Visit) -> None:
    page = desk.page
    seconds = desk.frame_seconds
    page.locator(".film-foot").scroll_into_view_if_needed()
    page.click(".film-frames li:nth-child(11) button")  # which also focuses it
    expect(page.locator(".loupe-text")).to_contain_text("0:09")
    page.click(".loupe button")
    wait_for_range(desk, seconds[9] - 0.01, seconds[11] + 0.01, count=47)
    expect(page.locator(".trail > *")).to_have_count(2)
    # Closer still, by keyboard: frames are 0.04 s apart, so the range is widened to a second.
    page.focus(".film-frames button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("l")
    wait_for_range(desk, seconds[9] - 0.01, seconds[9] + 1.1, count=25)
    expect(page.locator(".trail > *")).to_have_count(3)


def test_going_back_is_instant_and_the_first_answer_reuses_the_prefix(desk: Visit) -> None:
    page = desk.page
    page.fill(".budget-number", "57")  # no other test has this prefix in the cache of the shared server
    page.press(".budget-number", "Enter")
    desk.wait_for_frames(57)
    answer = desk.ask("What number is in the video?")
    assert "video read in" in desk.stats()
    drag(page, 20, 40)
    wait_for_range(desk, 19.5, 40.5, 57)
    desk.ask("What number is in the video?")
    assert "video read in" in desk.stats()
    page.click(".trail button >> nth=0")
    wait_for_range(desk, 0, 60, 57)
    assert desk.ask("What number is in the video?") == answer
    assert "video read once, reused" in desk.stats()


def test_invalid_ranges_get_one_message_each_and_change_nothing(desk: Visit) -> None:
    page = desk.page
    desk.ask("What number is in the video?")
    seconds = desk.frame_seconds
    for start, end, line in (
        ("2:00", "", "the range starts at 120 s, but needle.mp4 is 60.00 s long"),
        ("0:31", "0:10", "is not after the start"),
        ("0:30.001", "0:30.002", "needle.mp4 has no frame between"),
    ):
        page.fill("#end textarea, #end input", end)
        page.fill("#start textarea, #start input", start)
        page.press("#start textarea, #start input", "Enter")
        desk.wait_for_toasts(line)
        assert desk.frame_seconds == seconds
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".turn .tools")).to_contain_text("Retry")
    expect(page.locator(".trail")).to_have_text("Whole video")


def test_a_wrong_range_is_named_beside_its_field_until_it_is_right(desk: Visit) -> None:
    page, problem = desk.page, desk.page.locator(".range-problem")
    start, end = page.locator("#start textarea, #start input"), page.locator("#end textarea, #end input")
    for field, text, words in (
        (start, "noon", "“noon” is not a time. Type seconds (90) or h:mm:ss."),
        (start, "2:00", "The video is only 1:00 long."),
        (end, "0:00", "The end must be after the start."),
    ):
        field.fill(text)
        # Not while somebody types, although the server answers an earlier request meanwhile.
        page.evaluate("document.dispatchEvent(new CustomEvent('longva:request-failed'))")
        expect(problem).to_be_hidden()
        field.press("Enter")
        expect(problem).to_have_text(words)
        expect(field).to_have_attribute("aria-invalid", "true")
        field.fill("")
        expect(problem).to_be_hidden()
        expect(field).to_have_attribute("aria-invalid", "false")
    start.fill("2:00")
    end.focus()
    expect(problem).to_be_visible()
    desk.pick("A rolling circle")  # which empties the fields
    expect(problem).to_be_hidden()
