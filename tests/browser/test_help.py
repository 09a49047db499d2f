"""The panel with the keys, the language and the theme; the keys of the whole page; the skip link."""

from playwright.sync_api import Browser, expect

from tests.support.browser import Visit

FIELD = "#question textarea"
BACKGROUND = "getComputedStyle(document.querySelector('.chat')).backgroundColor"


def test_keys_lead_to_the_question_and_open_the_help(visit: Visit) -> None:
    page, panel = visit.page, visit.page.locator(".help")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(FIELD)).to_be_focused()
    page.keyboard.type("Who? And /")  # in a text these keys are characters
    expect(page.locator(FIELD)).to_have_value("Who? And /")
    expect(panel).to_be_hidden()
    page.locator("h1").click()
    page.keyboard.press("/")
    expect(page.locator(FIELD)).to_be_focused()
    expect(page.locator(FIELD)).to_have_value("Who? And /")
    page.locator(".help-button").focus()
    page.keyboard.press("?")
    expect(panel).to_contain_text("go to the question")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator(".help-button")).to_be_focused()
    assert visit.complaints == []


def test_the_theme_is_chosen_and_remembered(browser: Browser, address: str) -> None:
    context = browser.new_context(color_scheme="light")
    visit = Visit(context, address)
    light = visit.page.evaluate(BACKGROUND)
    visit.page.click(".help-button")
    visit.page.select_option(".help-theme", "dark")
    visit.page.wait_for_function(f"{BACKGROUND} !== '{light}'")
    dark = visit.page.evaluate(BACKGROUND)
    visit.reload()
    visit.page.wait_for_selector(".drawn .chat")
    visit.page.wait_for_function(f"{BACKGROUND} === '{dark}'")
    visit.page.emulate_media(color_scheme="dark")
    visit.page.click(".help-button")
    visit.page.select_option(".help-theme", "light")
    visit.page.wait_for_function(f"{BACKGROUND} === '{light}'")
    visit.page.select_option(".help-theme", "system")
    visit.page.wait_for_function(f"{BACKGROUND} === '{dark}'")
    visit.page.emulate_media(color_scheme="light")
    visit.page.wait_for_function(f"{BACKGROUND} === '{light}'")
    context.close()


def test_the_language_is_chosen_and_remembered_with_the_chat(browser: Browser, address: str) -> None:
    context = browser.new_context(locale="en-GB")
    visit = Visit(context, address)
    visit.pick("Three shapes")
    answer = visit.ask("What colour is the star?")
    visit.page.wait_for_function("localStorage.getItem('longva-chats')")
    visit.page.click(".help-button")
    visit.page.select_option(".help-language", "fr")
    expect(visit.page.locator("html")).to_have_attribute("lang", "fr")
    expect(visit.page.locator("#chat h2")).to_have_text("Conversation")
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    expect(visit.page.locator(".turn .stats")).to_have_text("d’une visite précédente")
    visit.wait_for_frames()
    visit.page.click(".help-button")
    expect(visit.page.locator(".help-language")).to_have_value("fr")
    visit.page.select_option(".help-language", "ms")
    expect(visit.page.locator("html")).to_have_attribute("lang", "ms")
    context.close()
