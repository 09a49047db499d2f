"""The cost of a budget: it follows the slider, and shows what fits and the expected time to the first word."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Visit
from tests.support.server import serving


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose answers may be so long that fewer than 2,000 frames fit with them."""
    log = tmp_path_factory.mktemp("cramped") / "server.log"
    with serving(log, "--model", "tiny", LONGVA_MAX_NEW_TOKENS="20000") as address:
        yield address


def slide(page: Page, to: float) -> None:
    """Drag the slider to this share of its length, without releasing it."""
    page.locator("#budget-slider").scroll_into_view_if_needed()
    box = page.locator("#budget-slider").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to, box["y"] + box["height"] / 2, steps=5)


def thin(number: int) -> str:
    """A number as the page formats it: 28 800."""
    return f"{number:,}".replace(",", "\u202f")


def test_the_cost_follows_the_slider_without_requests(visit: Visit) -> None:
    page = visit.page
    page.set_default_timeout(120_000)
    visit.pick("One second in a minute")
    expect(page.locator("#cost")).to_contain_text("64 frames · 576 tokens")
    expect(page.locator("#cost")).to_contain_text("One frame every 0.95 s")
    visit.wait_for_completed(1)
    before = len(visit.requests)
    slide(page, 0.75)
    shown = page.inner_text("#cost")
    frames = int(page.input_value(".budget-number"))
    assert 200 < frames < 500
    assert shown.startswith(f"{frames} frames · {thin(frames * 9)} tokens · ")
    assert f"One frame every {1499 / 25 / (frames - 1):.2g} s" in shown
    assert "Fits this machine" in shown
    slide(page, 1.0)
    expect(page.locator("#cost")).to_contain_text(f"{thin(1500)} frames · {thin(13500)} tokens")
    expect(page.locator("#cost")).to_contain_text("Every frame of the video is used.")
    slide(page, 0.0)
    expect(page.locator("#cost")).to_contain_text("1 frame · 9 tokens")
    expect(page.locator("#cost")).to_contain_text("A single frame, at 0:00.0")
    assert [url for url in visit.requests[before:] if "/file=" not in url] == []  # the player loads the video
    page.mouse.up()
    visit.wait_for_frames(1)
    assert visit.complaints == []


def test_the_time_is_estimated_from_earlier_prefills(visit: Visit) -> None:
    page = visit.page
    page.set_default_timeout(120_000)
    visit.pick("One second in a minute")
    page.fill(".budget-number", "60")  # not in the prefix cache yet
    page.press(".budget-number", "Enter")
    visit.wait_for_frames(60)
    visit.ask("What number is in the video?")
    fit = page.locator(".cost-fit")
    # Until the answer's own time has replaced an estimate from other prefills.
    page.wait_for_function(
        """(seconds) => {
          const estimate = document.querySelector(".cost-fit").textContent.match(/about ([\\d.]+) s to the first word/);
          return estimate && Math.abs(estimate[1] - seconds) <= Math.max(0.06 * seconds, 0.051);
        }""",
        arg=max(0.1, visit.seconds_to_first_word()),
    )
    page.fill(".budget-number", "250")
    page.press(".budget-number", "Enter")
    visit.wait_for_frames(250)
    # More frames take longer, extrapolated from the nearest earlier prefill.
    assert float(re.findall(r"about ([\d.]+) s", fit.inner_text())[0]) > 0


def test_a_budget_that_does_not_fit_has_a_message_and_the_largest_one_a_mark(browser: Browser, cramped: str) -> None:
    visit = Visit(browser.new_context(viewport={"width": 1440, "height": 900}), cramped)
    page = visit.page
    page.set_default_timeout(120_000)
    expect(page.locator("#cost")).to_contain_text("has not been measured")
    largest = (32_768 - 512 - 20_000) // 9
    expect(page.locator(".budget-limit")).to_be_visible()
    assert page.get_attribute(".budget-limit", "title") == f"{thin(largest)} frames fit this machine"
    mark, box = page.locator(".budget-limit").bounding_box(), page.locator("#budget-slider").bounding_box()
    assert mark is not None
    assert box is not None
    # At that budget, the centre of the thumb is under the mark.
    page.mouse.click(mark["x"] + 1, box["y"] + box["height"] / 2)
    assert abs(int(page.input_value(".budget-number")) - largest) < 0.02 * largest
    slide(page, 1.0)
    expect(page.locator(".cost.over")).to_contain_text(f"This machine has room for {thin(largest)} frames.")
    page.mouse.up()
    slide(page, 0.5)
    expect(page.locator(".cost.over")).to_have_count(0)
    page.mouse.up()
    page.context.close()
