"""The needle test on the page: the heat map fills live, the chat stays usable, and the test can be stopped."""

from playwright.sync_api import expect

from tests.support.browser import Visit

BUSY_MS = 120_000

# Counts the filled cells of the heat map each time it changes.
WATCH = """() => {
  window.filled = [];
  const table = document.querySelector(".heat");
  new MutationObserver(() => {
    const count = [...table.querySelectorAll("td")].filter((cell) => cell.textContent).length;
    if (count !== window.filled.at(-1)) window.filled.push(count);
  }).observe(table, { subtree: true, childList: true });
}"""


def start(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Needle test").click()
    visit.page.evaluate(WATCH)
    visit.page.click(".needles-start")


def scores(visit: Visit) -> list[list[str]]:
    return visit.page.eval_on_selector_all(
        ".heat tbody tr", "rows => rows.map((row) => [...row.cells].map((one) => one.textContent))"
    )


def test_the_heat_map_fills(visit: Visit) -> None:
    visit.pick("Three shapes")
    start(visit)
    expect(visit.page.locator(".needles-pictures img")).to_have_count(3, timeout=BUSY_MS)
    expect(visit.page.locator(".needles-state")).to_contain_text("45 answers are right", timeout=BUSY_MS)
    table = scores(visit)
    assert [row[0] for row in table] == ["0%", "25%", "50%", "75%", "100%"]
    heads = visit.page.eval_on_selector_all(".heat thead th", "all => all.map((one) => one.textContent)")
    assert heads == ["Depth", "4 frames", "8 frames", "16 frames"]
    found = [cell for row in table for cell in row[1:]]
    assert all(cell.endswith(" of 3") for cell in found)
    assert sum(int(cell[0]) for cell in found) >= 40
    assert len(visit.page.evaluate("window.filled")) > 3, "the heat map came in one piece"
    visit.page.get_by_role("tab", name="Video").click()
    assert visit.ask("What colour is the star?") == "It is red."
    assert visit.complaints == []


def test_stopping_and_starting_again(visit: Visit) -> None:
    visit.pick("One second in a minute")
    start(visit)
    visit.page.wait_for_selector(".heat td:not(:empty)", timeout=BUSY_MS)
    visit.page.click(".needles-stop")
    expect(visit.page.locator(".needles-state")).to_contain_text("Stopped:", timeout=BUSY_MS)
    assert any(not cell for row in scores(visit) for cell in row)
    visit.page.click(".needles-start")
    expect(visit.page.locator(".needles-state")).to_contain_text("Question", timeout=BUSY_MS)
    # Another selection ends it.
    visit.pick("Three shapes")
    visit.page.get_by_role("tab", name="Needle test").click()
    expect(visit.page.locator(".needles-start")).to_be_visible(timeout=BUSY_MS)
    assert visit.complaints == []


def test_it_needs_a_video(visit: Visit) -> None:
    start(visit)
    visit.wait_for_toasts("there is no video to hide a needle in")
    expect(visit.page.locator(".needles-start")).to_be_visible()
