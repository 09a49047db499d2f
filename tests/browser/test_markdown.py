"""Answers in Markdown: how they are drawn, and what a click on a time or a link does."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from longva_demo.chat import LocalEngine
from longva_demo.chat.text_stream import TextStream
from longva_demo.model import load
from longva_demo.server import build_app
from longva_demo.settings import Settings
from tests.support.browser import Visit
from tests.support.server import free_port

# What LongVA-7B may write. The built-in model, which has no word for an asterisk, answers with these texts instead.
ANSWER = (
    "It happens **here**, at 0:30:\n\n- a *star* in frame 2\n- `0:10` and 9:59\n\n",
    "| shape | time |\n|---|---|\n| star | 0:05 |\n\n[help](https://help.example/a) <img src=x onerror='ran = 1'>",
)
WHERE = "document.querySelector('#player video')"
# The texts of the button from now on.
COLLECT_LABELS = """() => {
  const button = document.querySelector(".turn:last-child [data-tool=copy]");
  window.labels = [];
  new MutationObserver(() => window.labels.push(button.textContent)).observe(button, { childList: true });
}"""


@pytest.fixture(scope="module")
def writing() -> Iterator[str]:
    """The address of a page whose model answers each question with ANSWER."""
    app = build_app(LocalEngine(load("tiny"), Settings()), Settings(log="nothing"))
    app.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True)
    yield app.local_url.rstrip("/")
    app.close(verbose=False)


def test_markdown_is_drawn_and_its_times_show_their_moments(
    browser: Browser, writing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[str] = []

    def next_piece(_: TextStream, __: int) -> str:
        return pieces.pop(0) if pieces else ""

    monkeypatch.setattr(TextStream, "add", next_piece)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit = Visit(context, writing)
    visit.pick("One second in a minute")
    visit.page.wait_for_function(f"{WHERE}?.readyState >= 1")
    pieces[:] = ANSWER
    visit.ask("What number appears?")
    answer = visit.page.locator(".turn .answer")
    expect(answer.locator("strong")).to_have_text("here")
    expect(answer.locator("li em")).to_have_text("star")
    expect(answer.locator("td").first).to_have_text("star")
    expect(answer).to_contain_text("<img src=x")
    assert visit.page.evaluate("window.ran") is None

    # Only times inside the minute, outside code, are buttons. One shows its moment, paused, and says whose words it is.
    moments = answer.locator(".moment")
    assert moments.all_inner_texts() == ["0:30", "frame 2", "0:05"]
    expect(moments.first).to_have_attribute(
        "title", "A time in the model’s own words, not a measured one: show this moment"
    )
    moments.first.click()
    visit.page.wait_for_function(f"Math.abs({WHERE}.currentTime - 30) < 0.05 && {WHERE}.paused")

    # The link says where it leads, and the page stays.
    link = answer.locator("a")
    expect(link).to_have_text("help (help.example)")
    expect(link).to_have_attribute("target", "_blank")

    # Copy copies what the model wrote, and says so.
    visit.page.evaluate(COLLECT_LABELS)
    visit.page.click(".turn:last-child [data-tool=copy]")
    visit.page.wait_for_function("window.labels.join() === 'Copied,Copy'")
    assert visit.page.evaluate("navigator.clipboard.readText()") == "".join(ANSWER)

    # While another video is selected, these times cannot be shown.
    visit.pick("Three shapes")
    expect(moments.first).to_be_disabled()
    expect(visit.page.locator(".note")).to_be_visible()
    assert visit.complaints == []
    context.close()
