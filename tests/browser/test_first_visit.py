"""What a first visit and a first example load."""

from playwright.sync_api import Browser

MAX_BYTES = 450_000
MAX_EXAMPLE_BYTES = 200_000


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
