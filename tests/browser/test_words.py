"""The page in four languages: all of it in the browser's language."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from longva_demo.page.i18n import CATALOGUES
from tests.support.browser import Visit

SLOW = 120_000  # ms: the model shares its cores with other processes
ENGLISH = CATALOGUES["en"]


# Every text of ours on the page, once each: visible text, tooltips, labels, placeholders. The footer and the two media
# fields contain texts of Gradio.
READ = """() => {
  const isOurs = (node) => !node.closest("script, style, [lang=en], footer, #player, #picture");
  const found = new Set(), add = (text) => { if (text?.trim()) found.add(text.trim().replace(/\\s+/g, " ")); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); )
    if (node.parentElement.checkVisibility() && isOurs(node.parentElement)) add(node.data);
  const names = ["title", "aria-label", "aria-valuetext", "placeholder", "data-label"];
  for (const node of document.querySelectorAll(names.map((name) => `[${name}]`).join()))
    for (const name of isOurs(node) ? names : []) add(node.getAttribute(name));
  return [...found];
}"""


def english_texts(language: str) -> re.Pattern[str]:
    """Matches every English text that differs in `language`, with anything in its slots."""
    texts = [ENGLISH[key] for key in ENGLISH if CATALOGUES[language][key] != ENGLISH[key]]
    # "{kind} on {device}" would match too much.
    distinctive = [text for text in texts if "{" not in text or len(re.sub(r"\{\w+\}|\W", "", text)) > 4]
    return re.compile("|".join(re.sub(r"\\\{\w+\\\}", ".+?", re.escape(text)) for text in distinctive))


def open_page(browser: Browser, address: str, locale: str, width: int = 1440) -> Visit:
    context = browser.new_context(viewport={"width": width, "height": 844}, locale=locale)
    visit = Visit(context, address)
    visit.page.set_default_timeout(SLOW)
    return visit


@pytest.mark.parametrize(
    ("locale", "language", "tag"), [("fr-CA", "fr", "fr"), ("ms-MY", "ms", "ms"), ("zh-CN", "zh", "zh-Hans")]
)
def test_a_whole_visit_is_in_the_browsers_language(
    browser: Browser, address: str, locale: str, language: str, tag: str
) -> None:
    visit = open_page(browser, address, locale, width=390)
    page, words = visit.page, CATALOGUES[language]
    page.locator(".card").first.click()
    visit.wait_for_frames()
    page.click("#settings > button")
    page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    expect(page.locator(".attribution-head")).to_be_visible(timeout=SLOW)
    page.click(f'.turn .tool:text-is("{words["tool.blind"]}")')
    expect(page.locator(".verdict")).to_be_visible(timeout=SLOW)
    page.wait_for_selector("#question .submit-button")
    for place in ("#start", "#end", "#video-tab-button", "#question .submit-button", "#settings > button"):
        page.locator(place).scroll_into_view_if_needed()
        page.hover(place)
        expect(page.locator(place)).to_have_attribute("title", re.compile("."))
    texts = page.evaluate(READ)
    english = english_texts(language)
    assert [text for text in texts if any(english.fullmatch(part) for part in (text, *text.split(" · ")))] == []
    ours = ("chat.title", "film.title", "budget.label", "range.end", "ask.placeholder_builtin", "blind.with")
    gradios = ("range.from", "tab.video", "settings.temperature_info", "ask.button", "settings.label")
    assert [key for key in (*ours, *gradios) if " ".join(words[key].split()) not in texts] == []
    assert page.title() == words["page.title"]
    assert page.get_attribute("html", "lang") == tag
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert cut_texts(page) == []
    assert visit.complaints == []
    page.context.close()


def cut_texts(page: Page) -> list[str]:
    """Controls whose text does not fit."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("#desk button, .badge, #desk h2, .film-foot, .timeline-head")]
          .filter((node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1 && node.clientWidth)
          .map((node) => `${node.textContent.trim()} (${node.scrollWidth} in ${node.clientWidth})`)"""
    )
    return found


# Lines of the header and the gallery that are cut, as "text (width needed in width, height needed in height)".
CUT_LINES = """() => [...document.querySelectorAll(".head p, .badge, .group :is(h2, .group-line, b, .card-shows)")]
  .filter((node) => node.checkVisibility() && node.clientWidth)
  .filter((node) => node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 8)
  .map((node) => `${node.textContent.trim()} (${node.scrollWidth} in ${node.clientWidth}, ${node.scrollHeight})`)"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("locale", ["en-GB", "ms-MY", "fr-FR", "zh-CN"])
def test_no_line_of_a_first_visit_is_cut(browser: Browser, address: str, locale: str, width: int) -> None:
    visit = open_page(browser, address, locale, width)
    assert visit.page.evaluate(CUT_LINES) == []
    visit.page.evaluate("document.querySelectorAll('.hint').forEach((hint) => { hint.hidden = true; })")
    assert visit.page.evaluate(CUT_LINES) == []
    visit.page.context.close()


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de-DE", "en"), ("en-GB", "en"), ("fr", "fr"), ("zh-TW", "zh"), ("zh-HK", "zh"), ("ms", "ms")],
)
def test_other_languages_fall_back_to_english(browser: Browser, address: str, locale: str, language: str) -> None:
    visit = open_page(browser, address, locale)
    words = CATALOGUES[language]
    expect(visit.page.locator(".chat-empty b")).to_have_text(words["chat.invitation"])
    expect(visit.page.locator("#start label")).to_have_text(words["range.from"])
    expect(visit.page.locator("#question textarea")).to_have_attribute("placeholder", words["ask.placeholder_builtin"])
    expect(visit.page.locator("#question .submit-button")).to_have_text(words["ask.button"])
    expect(visit.page.locator("html")).to_have_attribute("lang", "zh-Hans" if language == "zh" else language)
    assert visit.complaints == []
    visit.page.context.close()


# Plurals, durations, intervals, shares, bytes, factors. "_" is a thin space.
FORMATTED = {
    "en-US": """1 frame|28_800 frames|under 0.1 s|0.4 s|12 s|0.25 s|14 s|1:30|under 0.1%|1.2%|61%
        |18 kB|8.3 MB|1.1 GB|2.7|150|over 10_000""",
    "fr-FR": """1 image|28_800 images|moins de 0,1_s|0,4_s|12_s|0,25_s|14_s|1:30|moins de 0,1_%|1,2_%|61_%
        |18_ko|8,3_Mo|1,1_Go|2,7|150|plus de 10_000""",
}


@pytest.mark.parametrize("locale", FORMATTED)
def test_numbers_are_formatted_for_the_language(browser: Browser, address: str, locale: str) -> None:
    visit = open_page(browser, address, locale)
    found = visit.page.evaluate(
        """() => [
          ...[1, 28800].map((count) => say("count.frames", { count })),
          ...[0.05, 0.42, 12.3].map((seconds) => formatSlot("duration", seconds)),
          ...[0.25, 14.2, 90].map((seconds) => formatSlot("interval", seconds)),
          ...[0.0004, 0.012, 0.61].map((share) => formatSlot("share", share)),
          ...[18432, 8.26e6, 1.057e9].map((bytes) => formatSlot("bytes", bytes)),
          ...[2.72, 148.4, 2.2e6].map((factor) => formatSlot("factor", factor)),
        ]"""
    )
    assert found == [text.strip() for text in FORMATTED[locale].replace("_", "\u202f").split("|")]
    visit.page.context.close()
