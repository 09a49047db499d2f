"""Coming back: a reload, a link, and an earlier chat go on where they ended."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from tests.support.browser import BUSY_MS, Visit

FIELD = "#question textarea"
KEPT = "JSON.parse(localStorage.getItem('longva-chats') || '[]')"


def named(visit: Visit) -> dict[str, list[str]]:
    """What the address bar names."""
    return parse_qs(urlsplit(visit.page.url).query)


def wait_for_storage(visit: Visit, question: str) -> None:
    kept = "(question) => localStorage.getItem('longva-chats')?.includes(question)"
    visit.page.wait_for_function(kept, arg=question, timeout=BUSY_MS)


def test_a_reload_keeps_the_example_its_budget_its_range_and_the_chat(visit: Visit) -> None:
    visit.open(f"{visit.address}/?example=needle&frames=32&start=0:30&end=0:45")
    visit.wait_for_frames(32)
    seconds = visit.frame_seconds
    assert 30 <= seconds[0] < seconds[-1] <= 45
    answer = visit.ask("What number appears?")
    wait_for_storage(visit, "What number appears?")
    visit.reload()
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    expect(visit.page.locator(".turn .stats")).to_have_text("from an earlier visit")
    visit.wait_for_frames(32)
    assert visit.frame_seconds == seconds
    expect(visit.page.locator(".history")).to_be_hidden()
    assert visit.ask("What colour is the background?")
    # The chat is kept once, as this page's.
    visit.page.wait_for_function(f"{KEPT}.length === 1 && {KEPT}[0].record.includes('the background')")
    assert named(visit) == {"example": ["needle"], "frames": ["32"], "start": ["0:30"], "end": ["0:45"]}
    assert visit.page.evaluate("window.toasts") == []
    assert visit.complaints == []


def test_a_reload_keeps_an_own_file_its_budget_its_range_and_the_chat(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames()
    visit.page.fill(".budget-number", "6")
    visit.page.fill("#start input", "1.0")
    visit.page.press("#start input", "Enter")
    visit.wait_for_frames(6)
    seconds = visit.frame_seconds
    answer = visit.ask("What shape is it?")
    wait_for_storage(visit, "What shape is it?")
    visit.reload()
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    visit.wait_for_frames(6)
    assert visit.frame_seconds == seconds
    expect(visit.page.locator("#about")).to_contain_text("my & clip.mp4")
    expect(visit.page.locator("#start input")).to_have_value("1.0")
    assert visit.ask("What colour is it?")
    assert named(visit) == {}
    assert visit.page.evaluate("window.toasts") == []
    # A visit that begins again, in the same tab, begins with nothing.
    visit.open(visit.address)
    visit.page.wait_for_selector(".drawn .chat-empty")
    expect(visit.page.locator("#about")).not_to_contain_text("my & clip.mp4")
    assert visit.complaints == []


def test_a_reload_keeps_an_own_picture(visit: Visit, tmp_path: Path) -> None:
    picture = tmp_path / "mine.png"
    picture.write_bytes((EXAMPLES_FOLDER / "picture.png").read_bytes())
    visit.upload(picture)
    expect(visit.page.locator("#about")).to_contain_text(picture.name)
    answer = visit.ask("What shape is it?")
    wait_for_storage(visit, "What shape is it?")
    visit.reload()
    expect(visit.page.locator("#about")).to_contain_text(picture.name)
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    assert visit.page.evaluate("window.toasts") == []
    # Removed: the next reload begins with nothing.
    visit.page.click("#picture .icon-button-wrapper > button:last-of-type")
    expect(visit.page.locator("#about")).not_to_contain_text(picture.name)
    visit.reload()
    visit.page.wait_for_selector(".drawn .chat-empty")
    expect(visit.page.locator("#about")).not_to_contain_text(picture.name)


def test_a_reload_after_the_server_has_deleted_the_file_says_so(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames()
    stored = visit.page.evaluate("JSON.parse(sessionStorage.getItem('longva-own-file')).fields[0].path")
    Path(stored).unlink()
    visit.reload()
    problem = visit.page.locator("#about .problem")
    expect(problem).to_have_text("The server no longer has <b>my & clip.mp4: choose it again.")
    assert visit.page.evaluate("window.toasts") == []
    assert visit.page.locator("#player video").count() == 0
    visit.upload(clip)
    visit.wait_for_frames()
    expect(problem).to_be_hidden()
    visit.pick("Three shapes")
    assert visit.ask("What colour is the star?")


def test_a_chat_about_other_frames_stays_an_earlier_one(visit: Visit) -> None:
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    wait_for_storage(visit, "the star")
    visit.page.fill(".budget-number", "8")
    visit.page.press(".budget-number", "Enter")
    visit.wait_for_frames(8)
    visit.reload()
    visit.wait_for_frames(8)
    expect(visit.page.locator(".history")).to_be_visible()
    assert visit.page.locator(".turn").count() == 0
    assert visit.page.evaluate("window.toasts") == []


def test_a_link_opens_an_example_and_brings_a_question(visit: Visit, clip: Path) -> None:
    visit.open(f"{visit.address}/?example=shapes&frames=8&q=Where+is+the+star%3F")
    visit.wait_for_frames(8)
    expect(visit.page.locator(FIELD)).to_have_value("Where is the star?")
    assert visit.page.locator(".turn").count() == 0
    visit.page.press(FIELD, "Enter")
    assert visit.wait_for_answer(1)
    assert named(visit) == {"example": ["shapes"], "frames": ["8"]}
    # The visitor's own file and questions are never in a link.
    visit.upload(clip)
    expect(visit.page.locator("#about")).to_contain_text("my & clip.mp4")
    visit.wait_for_frames()
    assert named(visit) == {}


def test_a_wrong_link_opens_the_page(visit: Visit) -> None:
    visit.open(f"{visit.address}/?example=nothing&frames=many&start=soon&q=")
    visit.page.wait_for_selector(".drawn .chat-empty")
    visit.open(f"{visit.address}/?example=shapes&frames=many&start=soon")
    visit.wait_for_frames(16)
    assert visit.complaints == []


def test_an_earlier_chat_about_an_example_goes_on(visit: Visit) -> None:
    visit.pick("Three shapes")
    answer = visit.ask("What colour is the star?")
    wait_for_storage(visit, "the star")
    visit.open(visit.address)
    visit.page.click(".history > summary")
    visit.page.click(".history-chat > summary")
    visit.page.get_by_role("button", name="Go on").click()
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    visit.wait_for_frames(16)
    expect(visit.page.locator("#end input")).to_have_value("")
    assert visit.ask("Where is the circle?") == "It is at the right."
    assert visit.complaints == []


def test_an_earlier_chat_about_an_own_file_waits_for_that_file(visit: Visit, clip: Path, tmp_path: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames()
    visit.page.fill(".budget-number", "12")
    visit.page.press(".budget-number", "Enter")
    visit.wait_for_frames(12)
    answer = visit.ask("What shape is it?")
    wait_for_storage(visit, "What shape is it?")
    visit.open(visit.address)
    visit.page.click(".history > summary")
    visit.page.click(".history-chat > summary")
    go_on = visit.page.get_by_role("button", name="Go on")
    go_on.click()
    hint = visit.page.locator(".history-hint")
    expect(hint).to_contain_text("my & clip.mp4 again: the chat goes on once it is here.")
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes() + bytes(8))
    visit.upload(other)
    visit.wait_for_toasts("other.mp4 is not the file of this chat")
    assert visit.page.locator(".turn").count() == 0
    go_on.click()
    visit.upload(clip)
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    visit.wait_for_frames(12)
    expect(visit.page.locator("#end input")).to_have_value("")
    assert visit.ask("What colour is it?")
