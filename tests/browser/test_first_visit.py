"""What a first visit loads."""

from playwright.sync_api import Browser

MAX_BYTES = 450_000


def test_a_first_visit_loads_at_most_450_kb(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[int] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address)
    page.wait_for_selector(".drawn .card")
    before = 0
    while before < len(sizes) or not before:  # until a second passes without another
        before = len(sizes)
        page.wait_for_timeout(1000)
    assert sum(sizes) <= MAX_BYTES
    context.close()
