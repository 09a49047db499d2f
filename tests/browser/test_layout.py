"""Everything fits the window: side by side on a screen, one column with a fixed player and question on a phone."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Visit

CLIP = "One second in a minute"
WIDTHS = (320, 360, 390, 600, 720, 900, 901, 1024, 1280)
# Layout shifts without a recent input, as browsers report them.
WATCH_SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
# Rows of frames that can be seen in whole.
COUNT_ROWS = """() => {
  const list = document.querySelector(".film-frames").getBoundingClientRect();
  const boxes = [...document.querySelectorAll(".film-frames li")].map((one) => one.getBoundingClientRect());
  const foot = Math.min(list.bottom, innerHeight) + 1;
  const inSight = boxes.filter((box) => box.top >= list.top - 1 && box.bottom <= foot);
  return new Set(inSight.map((box) => Math.round(box.top))).size;
}"""


def edges(page: Page, selector: str) -> tuple[float, float]:
    """Top and bottom in the window, in pixels."""
    box = page.locator(selector).bounding_box()
    assert box is not None, selector
    return box["y"], box["y"] + box["height"]


def resize(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})


@pytest.mark.parametrize(("width", "height", "rows"), [(1440, 900, 2), (1280, 720, 1), (1024, 768, 1), (1920, 1080, 3)])
def test_an_answer_about_an_example_fits_the_window(visit: Visit, width: int, height: int, rows: int) -> None:
    page = visit.page
    resize(page, width, height)
    visit.pick(CLIP)
    page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    assert page.evaluate("scrollY") == 0
    for part in ("#player", "#timeline", "#budget", "#cost", "#chat", "#suggestions", "#question"):
        top, bottom = edges(page, part)
        assert 0 <= top < bottom <= height, part
    assert page.evaluate(COUNT_ROWS) >= rows
    frames, chat = edges(page, "#frames"), edges(page, "#settings")
    assert frames[0] <= max(560, 0.58 * height)
    # Both columns end at the foot of the window.
    assert height - 30 <= frames[1] <= height
    assert height - 30 <= chat[1] <= height


def test_the_cards_become_a_strip_that_one_click_opens(visit: Visit) -> None:
    page, gallery, toggle = visit.page, visit.page.locator("#gallery"), visit.page.locator(".gallery-toggle")
    expect(toggle).to_be_hidden()
    full = edges(page, "#gallery")
    visit.pick(CLIP)
    top, bottom = edges(page, "#gallery")
    assert bottom - top <= 40
    seconds = visit.frame_seconds
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(gallery.locator(".card-shows").first).to_be_visible()
    top, bottom = edges(page, "#gallery")
    assert bottom - top >= full[1] - full[0]
    assert visit.frame_seconds == seconds
    page.click(f'.card:has-text("{CLIP}")')
    expect(toggle).to_have_attribute("aria-expanded", "false")
    page.click("#player button[aria-label=Clear]")
    expect(toggle).to_be_hidden()
    expect(gallery.locator(".card-shows").first).to_be_visible()


# Everything that can be tapped, with the label around it, and is smaller than 40 pixels: "width × height, class, text".
SMALL_TARGETS = """() => [...document.querySelectorAll("button, a, summary, input, textarea, [role=tab], .track")]
  .filter((node) => node.checkVisibility() && node.getClientRects().length)
  .map((node) => [node, (node.closest("label") ?? node).getBoundingClientRect()])
  .filter(([, { width, height }]) => width && (width < 39.5 || height < 39.5))
  .map(([node, { width, height }]) => `${width} × ${height}, ${node.className}, ${node.textContent.trim()}`)"""


def test_under_a_finger_everything_is_large_enough(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    visit = Visit(context, address)
    assert visit.page.evaluate(SMALL_TARGETS) == []
    visit.pick(CLIP)
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    visit.page.click("#settings button")
    assert visit.page.evaluate(SMALL_TARGETS) == []
    visit.page.click(".badge")
    visit.page.wait_for_selector(".machine-needs td")
    assert visit.page.evaluate(SMALL_TARGETS) == []
    visit.page.keyboard.press("Escape")
    for tab in ("Picture", "Needle test", "Chapters", "Words"):
        visit.page.get_by_role("tab", name=tab).click()
        assert visit.page.evaluate(SMALL_TARGETS) == []
    visit.page.wait_for_selector(".words-screen:visible")
    assert visit.page.evaluate(SMALL_TARGETS) == []
    context.close()


# Right end of the last tab, and left end of the facts beside the tabs.
AROUND_GAP = """() => [
  Math.max(...[...document.querySelectorAll("#media [role=tab]")].map((one) => one.getBoundingClientRect().right)),
  document.querySelector(".about").getBoundingClientRect().left,
]"""


@pytest.mark.parametrize("language", ["en", "fr", "ms", "zh"])
def test_the_facts_beside_the_tabs_cover_none(browser: Browser, address: str, language: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 720}, locale=language)
    visit = Visit(context, address)
    visit.page.click(".card >> nth=0")
    visit.wait_for_frames()
    tabs, facts = visit.page.evaluate(AROUND_GAP)
    assert tabs <= facts
    expect(visit.page.locator("#words-tab-button")).to_be_visible()
    context.close()


@pytest.fixture
def phone(visit: Visit) -> Visit:
    resize(visit.page, 390, 844)
    visit.pick(CLIP)
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    expect(visit.page.locator(".attribution-frame").first).to_be_visible()
    return visit


def test_a_phone_keeps_the_player_and_the_question_in_sight(phone: Visit) -> None:
    page = phone.page
    page.locator("#chat").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('.attribution-frame').scrollIntoView({ block: 'center' })")
    assert page.evaluate("scrollY") > 200
    player, timeline, question = edges(page, "#player"), edges(page, "#timeline"), edges(page, "#question")
    assert 0 <= player[0] < player[1] <= timeline[0] < timeline[1] < 400
    assert 780 < question[1] <= 844  # at the end of the page, the footer is below it
    frame = edges(page, ".attribution-frame >> nth=0")
    assert timeline[1] <= frame[0] < frame[1] <= question[0], "the frame is covered"


def test_on_a_phone_the_frames_are_a_strip_whose_frames_play_in_sight(phone: Visit) -> None:
    page = phone.page
    tops = page.eval_on_selector_all(".film-frames li", "all => all.map((one) => one.getBoundingClientRect().top)")
    assert len(tops) == 64
    assert len(set(tops)) == 1
    frame = page.locator(".film-frames button").nth(40)
    frame.click()
    seconds = float(frame.get_attribute("data-seconds") or "nan")
    page.wait_for_function(f"document.querySelector('#player video').currentTime >= {seconds - 0.01}")
    player = edges(page, "#player video")
    assert 0 <= player[0] < player[1] <= 844


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1920, 1080), (390, 844)])
def test_nothing_moves_while_the_page_loads(browser: Browser, address: str, width: int, height: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    context.add_init_script(WATCH_SHIFTS)
    page = Visit(context, address).page
    page.wait_for_selector(".card")
    page.wait_for_timeout(1500)  # the server's messages never end, so that the network is never idle
    assert page.evaluate("window.shift") <= 0.05
    context.close()


def test_nothing_scrolls_sideways(visit: Visit) -> None:
    page = visit.page

    def overflow() -> dict[int, int]:
        found = {}
        for width in WIDTHS:
            resize(page, width, 700)
            found[width] = page.evaluate("document.documentElement.scrollWidth") - width
        return {width: pixels for width, pixels in found.items() if pixels > 0}

    assert overflow() == {}
    visit.pick(CLIP)
    visit.ask("What number appears in the video, and where in the picture is the star that it is on?")
    assert overflow() == {}


@pytest.mark.parametrize("language", ["en", "fr", "ms", "zh"])
def test_the_badge_does_not_cover_the_name_on_a_phone(language: str, browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 700}, locale=language)
    page = Visit(context, address).page
    right = page.evaluate(
        """() => { const range = document.createRange();
          range.selectNodeContents(document.querySelector(".head h1"));
          return range.getBoundingClientRect().right; }"""
    )
    box = page.locator(".badge").bounding_box()
    assert box is not None
    assert right <= box["x"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()
