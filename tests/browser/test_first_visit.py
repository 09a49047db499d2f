"""What a first visit and a first example load, and that a page at rest does nothing."""

from playwright.sync_api import Browser

from tests.support.browser import Visit

MAX_BYTES = 450_000
MAX_EXAMPLE_BYTES = 200_000
# Counts requests for animation frames. Gradio's modules import the function, so that it is replaced before they load.
COUNT_FRAMES = """
window.frames_requested = 0;
const { requestAnimationFrame } = window;
window.requestAnimationFrame = (callback) => {
  window.frames_requested += 1;
  return requestAnimationFrame(callback);
};
"""
# Half a second without one, in at most half a minute.
COMES_TO_REST = """async () => {
  for (let tries = 0; tries < 60; tries += 1) {
    const before = window.frames_requested;
    await new Promise((go) => setTimeout(go, 500));
    if (window.frames_requested === before) return true;
  }
  return false;
}"""


def test_a_first_visit_and_a_first_example(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[int] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))

    def loaded() -> int:
        before = 0
        while before < len(sizes) or not before:  # until a second passes without another
            before = len(sizes)
            page.wait_for_timeout(1000)
        return sum(sizes)

    page.goto(address)
    page.wait_for_selector(".drawn .card")
    assert loaded() <= MAX_BYTES
    sizes.clear()
    page.click(".card")
    page.wait_for_selector('.film[data-state="done"]')
    assert loaded() <= MAX_EXAMPLE_BYTES
    context.close()


def test_a_page_at_rest_requests_no_frames(browser: Browser, address: str) -> None:
    context = browser.new_context()
    context.add_init_script(COUNT_FRAMES)
    visit = Visit(context, address)
    assert visit.page.evaluate(COMES_TO_REST)
    visit.pick("Three shapes")
    assert visit.page.evaluate(COMES_TO_REST)
    assert visit.page.evaluate("window.frames_requested") > 0
    context.close()
