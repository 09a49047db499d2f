"""The gallery on the page: groups and cards, previews on hover, and the hint."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from longva_demo.page.components.gallery import EXAMPLES_FOLDER, GROUPS, read_examples
from longva_demo.page.i18n import CATALOGUES
from tests.support.browser import Visit

EXAMPLES = read_examples()
ENGLISH = CATALOGUES["en"]
ROLLING, LONG = "A rolling circle", "Ten minutes, one number"


def test_answers_are_correct_on_the_page(visit: Visit) -> None:
    example = EXAMPLES[0]
    visit.pick(example.title)
    for number, truth in enumerate(example.answers):
        visit.page.click(f".chip >> nth={number}")
        assert visit.wait_for_answer(number + 1) == truth


def test_the_groups_are_above_the_player(visit: Visit) -> None:
    """All cards and the whole player fit on the first screen. Each group is a region with a heading."""
    for name in GROUPS:
        title, line = ENGLISH[f"gallery.group_{name}"], ENGLISH[f"gallery.group_{name}_line"]
        region = visit.page.get_by_role("region", name=title)
        expect(region.get_by_role("heading", name=title)).to_be_visible()
        expect(region.get_by_role("button")).to_have_count(sum(example.group == name for example in EXAMPLES))
        expect(region).to_contain_text(line)
    player = visit.page.locator("#player").bounding_box()
    assert player is not None
    assert player["y"] + player["height"] <= 900
    for card in visit.page.locator(".card").all():
        box = card.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 1440
        assert box["y"] + box["height"] <= player["y"]


def test_a_phone_scrolls_from_group_to_group(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = Visit(context, address).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    second = page.locator(".group").nth(1).bounding_box()
    assert second is not None
    assert second["x"] < 370, "nothing shows that there is more to the right"
    page.locator(".card").last.scroll_into_view_if_needed()
    expect(page.locator(".card").last).to_be_in_viewport(ratio=1)
    context.close()


def fetched_previews(visit: Visit) -> list[str]:
    return [url.rsplit("/", 1)[-1] for url in visit.requests if url.endswith(".webp")]


def pixels(screenshot: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(screenshot)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)  # (height, width, 3)


def test_a_card_plays_its_preview_on_hover(visit: Visit) -> None:
    card = visit.page.locator(f'.card:has-text("{ROLLING}")')
    picture = card.locator(".card-picture")
    still = pixels(picture.screenshot())
    assert fetched_previews(visit) == []
    card.hover()
    expect(card.locator(".moving")).to_be_visible()
    seen: set[bytes] = set()
    for _ in range(200):
        seen.add(picture.screenshot())
        if len(seen) >= 3:
            break
    assert len(seen) >= 3, "the preview stands still"
    assert fetched_previews(visit) == ["motion.webp"]
    visit.page.mouse.move(0, 0)
    expect(card.locator(".moving")).to_have_count(0)
    for _ in range(200):  # the card's edge fades for a moment
        difference = int(np.abs(pixels(picture.screenshot()) - still).max())
        if difference <= 2:
            break
    assert difference <= 2, "the still did not come back"
    assert visit.complaints == []


def test_the_keyboard_plays_and_picks(visit: Visit) -> None:
    visit.page.focus(".help-button")
    visit.page.keyboard.press("Tab")
    first, second = visit.page.locator(".card").nth(0), visit.page.locator(".card").nth(1)
    expect(first).to_be_focused()
    expect(first.locator(".moving")).to_be_visible()
    visit.page.keyboard.press("Tab")
    expect(second).to_be_focused()
    expect(first.locator(".moving")).to_have_count(0)
    visit.page.keyboard.press("Enter")
    visit.wait_for_frames()
    expect(visit.page.locator(".chip")).to_have_text(list(EXAMPLES[1].questions))


def test_reduced_motion_keeps_the_still_picture(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    visit = Visit(context, address)
    visit.page.hover(f'.card:has-text("{ROLLING}")')
    visit.page.wait_for_selector(f'.card:hover:has-text("{ROLLING}")')
    visit.page.evaluate("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    assert fetched_previews(visit) == []
    context.close()


@pytest.fixture
def newcomer(browser: Browser, address: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield Visit(context, address)
    context.close()


def is_welcomed_again(visit: Visit) -> bool:
    visit.open(visit.address)
    # The gallery's script has run once its cards move.
    visit.page.hover(f'.card:has-text("{ROLLING}")')
    visit.page.wait_for_selector(".moving")
    return visit.page.locator(".hint").is_visible()


def test_the_hint_disappears_with_the_first_pick(newcomer: Visit) -> None:
    hint, card = newcomer.page.locator(".hint"), newcomer.page.locator(".card").first
    expect(hint).to_have_text(ENGLISH["gallery.hint"])
    expect(hint).to_be_visible()
    before = card.bounding_box()
    assert is_welcomed_again(newcomer)
    newcomer.pick(LONG)
    expect(hint).to_be_hidden()
    assert not is_welcomed_again(newcomer)
    assert card.bounding_box() == before, "the cards moved to where the hint was"


def test_the_hint_disappears_with_the_first_file(newcomer: Visit, clip: Path) -> None:
    expect(newcomer.page.locator(".hint")).to_be_visible()
    newcomer.upload(clip)
    expect(newcomer.page.locator(".hint")).to_be_hidden()
    assert not is_welcomed_again(newcomer)


def test_the_hint_disappears_with_the_first_picture(newcomer: Visit) -> None:
    newcomer.page.get_by_role("tab", name="Picture").click()
    newcomer.page.set_input_files("#picture input[type=file]", str(EXAMPLES_FOLDER / "picture.png"))
    expect(newcomer.page.locator(".hint")).to_be_hidden()
