"""Two visitors, and two tabs of one browser."""

from playwright.sync_api import Browser

from tests.support.browser import Visit


def test_two_visitors_do_not_see_each_other(browser: Browser, address: str) -> None:
    contexts = [browser.new_context(), browser.new_context()]
    one, two = (Visit(context, address) for context in contexts)
    one.pick("Three shapes")
    two.pick("A rolling circle")
    for visit, question in ((one, "What colour is the star?"), (two, "Which way does the circle move?")):
        visit.page.fill("#question textarea", question)
        visit.page.press("#question textarea", "Enter")
    one.wait_for_answer(1)
    two.wait_for_answer(1)
    assert one.page.inner_text(".turn .question") == "What colour is the star?"
    assert two.page.inner_text(".turn .question") == "Which way does the circle move?"
    assert one.page.inner_text("#about") != two.page.inner_text("#about")
    two.page.close()
    one.ask("Where is the circle?")
    assert "video read once, reused" in one.stats()
    for context in contexts:
        context.close()


def test_two_tabs_of_one_browser_are_two_visitors_who_keep_both_chats(browser: Browser, address: str) -> None:
    """They share the browser's storage. Neither overwrites the other's chat, and each clears only its own."""
    context = browser.new_context()
    one, two = Visit(context, address), Visit(context, address)
    one.pick("Three shapes")
    two.pick("A rolling circle")
    asked = ((one, "What colour is the star?"), (two, "Which way does the circle move?"))
    for visit, question in asked:
        visit.page.fill("#question textarea", question)
        visit.page.press("#question textarea", "Enter")
    for visit, question in asked:
        visit.wait_for_answer(1)
        assert visit.page.locator(".turn .question").all_inner_texts() == [question]
    kept = "JSON.parse(localStorage.getItem('longva-chats') || '[]')"
    one.page.wait_for_function(f"{kept}.length === 2")
    two.page.close()
    one.ask("Where is the star?")
    assert "video read once, reused" in one.stats()
    one.page.click(".chat-clear")
    one.page.wait_for_function(f"{kept}.length === 1")
    assert one.complaints == two.complaints == []
    one.open(one.address)
    one.page.click(".history > summary")
    one.page.click(".history-chat > summary")
    assert one.page.locator(".history-question").all_inner_texts() == ["Which way does the circle move?"]
    context.close()


def test_a_tab_that_has_not_seen_a_chat_does_not_remove_it(browser: Browser, address: str) -> None:
    """The other tab answers what the first one stores with a list from before."""
    context = browser.new_context()
    one, two = Visit(context, address), Visit(context, address)
    two.page.evaluate("""() => {
      const chats = () => JSON.parse(localStorage.getItem("longva-chats") || "[]");
      let isAnswered = false;
      addEventListener("storage", () => {
        if (isAnswered || !chats().length) return;
        isAnswered = true;
        localStorage.setItem("longva-chats", JSON.stringify([{ ...chats()[0], page: "another", number: 0 }]));
      });
    }""")
    one.pick("Three shapes")
    one.ask("What colour is the star?")
    pages = "JSON.parse(localStorage.getItem('longva-chats') || '[]').map((chat) => chat.page === 'another')"
    one.page.wait_for_function(f"JSON.stringify({pages}) === '[false,true]'")
    assert one.complaints == two.complaints == []
    context.close()
