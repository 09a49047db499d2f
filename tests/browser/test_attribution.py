"""Below an answer: how sure the model was, and the frames that it used. A click on one shows that moment."""

import re

from playwright.sync_api import expect

from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS
from longva_demo.tiny.questions import REFUSAL
from tests.support.browser import Visit

# The gallery's needle clip shows its number in these seconds.
NEEDLE = (37.4, 38.4)


def test_the_needle_is_attributed_and_a_click_shows_it(visit: Visit) -> None:
    visit.pick("One second in a minute")
    visit.ask("What number appears in the video?")
    chips = visit.page.locator(".attribution-frame")
    expect(chips.first).to_be_visible()
    assert chips.count() <= 3
    visit.page.click(".film-frames li:first-child button")  # plays
    chips.first.click()
    paused, seconds = visit.page.evaluate(
        "(({ paused, currentTime }) => [paused, currentTime])(document.querySelector('#player video'))"
    )
    assert paused
    assert NEEDLE[0] <= seconds <= NEEDLE[1]
    frame = visit.page.locator(f'.film-frames button[data-seconds="{seconds:g}"]')
    expect(frame).to_be_in_viewport(ratio=1)
    sure = visit.page.locator(".turn .sure")
    figure = re.fullmatch(r"The model gave its words a probability of (\d+)% on average\.", sure.get_attribute("title"))
    assert figure is not None
    probability = int(figure[1]) / 100
    assert sure.text_content() == ("sure" if probability >= 0.98 else "fairly sure" if probability >= 0.9 else "unsure")
    weights = visit.page.eval_on_selector_all(
        ".film-frames li", "items => items.map((item) => Number(item.style.getPropertyValue('--weight')))"
    )
    times = visit.frame_seconds
    assert len(weights) == len(times) == 64
    assert max(weights) == 1
    assert NEEDLE[0] <= times[weights.index(1)] <= NEEDLE[1]
    assert visit.complaints == []


def test_a_new_question_does_not_wait_and_a_new_range_removes_the_weights(visit: Visit) -> None:
    visit.pick("One second in a minute")
    visit.ask("What colour is the background?")
    visit.ask("What number appears in the video?")
    expect(visit.page.locator(".turn:last-child .attribution-frame").first).to_be_visible()
    assert "attributed" in visit.page.get_attribute(".film", "class").split()
    visit.page.fill("#start textarea, #start input", "0:02")
    visit.page.press("#start textarea, #start input", "Enter")
    expect(visit.page.locator(".film.attributed")).to_have_count(0)
    assert visit.complaints == []


def test_a_question_that_is_too_long_to_attribute_is_answered_with_a_note(visit: Visit) -> None:
    visit.pick("One second in a minute")
    assert visit.ask("What number appears in the video? " + "x1 " * (MAX_ATTRIBUTED_TOKENS // 2))
    note = visit.page.locator(".turn .attribution-skipped")
    text = (note.text_content() or "").replace("\u202f", "")
    found = re.search(r"the question and answer have (\d+) tokens; the limit is (\d+)\.", text)
    assert found is not None
    assert int(found[1]) > int(found[2]) == MAX_ATTRIBUTED_TOKENS
    expect(visit.page.locator(".attribution-frame, .attribution-head")).to_have_count(0)
    visit.ask("What number appears in the video?")
    expect(visit.page.locator(".turn:last-child .attribution-frame").first).to_be_visible()
    expect(note).to_have_count(1)  # the first answer keeps its own
    assert visit.complaints == []


def test_a_refusal_has_neither_a_confidence_nor_frames(visit: Visit) -> None:
    visit.pick("One second in a minute")
    assert visit.ask("What is the weather in Paris?") == REFUSAL
    visit.ask("What number appears in the video?")
    expect(visit.page.locator(".turn:last-child .attribution-frame").first).to_be_visible()
    expect(visit.page.locator(".turn:first-child").locator(".sure, .attribution")).to_have_count(0)
    assert visit.complaints == []


def test_attribution_can_be_switched_off(visit: Visit) -> None:
    visit.page.click("#settings button")
    visit.page.get_by_label("Find the frames that an answer relied on").uncheck()
    visit.pick("One second in a minute")
    visit.ask("What number appears in the video?")
    expect(visit.page.locator(".film.attributed")).to_have_count(1)  # the attention costs nothing
    expect(visit.page.locator(".attribution")).to_have_count(0)
    assert visit.complaints == []
