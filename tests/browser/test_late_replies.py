"""Late replies undo nothing that the visitor did since."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from longva_demo.settings import Settings
from tests.support.browser import Visit
from tests.support.clips import write_clip

SLOW = 90_000
START, FIELD = "#start textarea, #start input", "#question textarea"
SETTINGS = Settings()
REQUEST: Any = SimpleNamespace(session_hash="one")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "long.mp4", seconds=40)


@pytest.fixture
def desk(visit: Visit, long_clip: Path) -> Visit:
    """A page with 64 frames of a video."""
    visit.page.set_default_timeout(SLOW)
    set_budget(visit, 64)
    visit.upload(long_clip)
    visit.wait_for_frames(64)
    return visit


def set_budget(visit: Visit, count: int) -> None:
    visit.page.fill(".budget-number", str(count))
    visit.page.press(".budget-number", "Enter")


def complaints_beside_progress(visit: Visit) -> list[str]:
    """Ignore that Gradio cannot get the progress of an upload that was held back, which the server does not know."""
    found = [one for one in visit.complaints if "upload_progress" in one]
    return [one for one in visit.complaints if one not in found and not (found and "Response (" in one)]


def focused(visit: Visit) -> str:
    """The class of the focused element, or its tag."""
    return str(visit.page.evaluate("document.activeElement.className || document.activeElement.tagName"))


def test_tab_and_budget_chosen_after_an_example(visit: Visit) -> None:
    visit.page.evaluate("window.latency = 1500")
    visit.page.click('.card:has-text("A picture")')
    visit.page.get_by_role("tab", name="Needle test").click()
    visit.page.click('.card:has-text("Three shapes")')
    visit.page.get_by_role("tab", name="Needle test").click()
    set_budget(visit, 8)
    visit.wait_for_frames(8)
    expect(visit.page.get_by_role("tab", name="Needle test")).to_have_attribute("aria-selected", "true")
    expect(visit.page.locator(".budget-number")).to_have_value("8")
    expect(visit.page.locator(".chip").first).to_be_visible()
    assert visit.complaints == []


def test_an_example_chosen_while_a_file_is_uploaded(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    visit.pick("Three shapes")
    uploads.release()
    visit.page.evaluate("window.latency = 300")
    set_budget(visit, 7)
    visit.wait_for_frames(7)
    expect(visit.page.locator("#about")).to_contain_text("shapes.mp4")
    assert "shapes.mp4" in visit.page.eval_on_selector("#player video", "video => video.currentSrc")
    # The field works as before: the next upload is accepted.
    visit.upload(clip)
    expect(visit.page.locator("#about")).to_contain_text("my & clip", timeout=SLOW)
    assert complaints_beside_progress(visit) == []


def test_an_event_that_is_sent_while_the_stream_ends_is_answered(visit: Visit) -> None:
    """The page does not know yet that the stream has ended: Gradio's client would wait for it forever."""
    visit.pick("Three shapes")
    visit.page.evaluate("window.latency = 2500")
    with visit.page.expect_response("**/queue/data*") as ended:
        set_budget(visit, 8)
    ended.value.finished()
    set_budget(visit, 9)
    visit.wait_for_frames(9)
    assert visit.complaints == []


def test_a_picture_example_chosen_while_a_video_is_uploaded(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    visit.page.click('.card:has-text("A picture")')
    visit.wait_for_frames(1)
    uploads.release()
    expect(visit.page.locator("#about")).to_contain_text("picture.png")
    visit.page.get_by_role("tab", name="Video").click()
    expect(visit.page.locator("#player input[type=file]")).to_be_attached()
    expect(visit.page.locator("#player video")).to_have_count(0)
    assert complaints_beside_progress(visit) == []


def test_range_and_budget_typed_while_a_file_is_uploaded(visit: Visit, long_clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(long_clip)
    uploads.wait()
    visit.page.fill(START, "0:30")
    set_budget(visit, 10)
    uploads.release()
    visit.page.wait_for_function(
        """() => {
          const seconds = [...document.querySelectorAll(".film button")].map((one) => Number(one.dataset.seconds));
          return seconds.length === 10 && seconds[0] >= 30;
        }""",
        timeout=SLOW,
    )
    expect(visit.page.locator(START)).to_have_value("0:30")


def test_an_old_range_does_not_outlive_its_video(desk: Visit, clip: Path) -> None:
    desk.page.fill(START, "0:20")
    desk.page.press(START, "Enter")
    desk.page.wait_for_function("Number(document.querySelector('.film button')?.dataset.seconds) >= 20")
    desk.upload(clip)
    expect(desk.page.locator("#about")).to_contain_text("my & clip")
    expect(desk.page.locator(START)).to_have_value("")
    desk.wait_for_frames()
    assert desk.frame_seconds[0] == 0


@pytest.mark.parametrize("status", [500, 503])
def test_a_question_that_does_not_reach_the_server_returns_to_its_field(visit: Visit, status: int) -> None:
    visit.pick("Three shapes")
    visit.page.route("**/queue/join*", lambda route: route.fulfill(status=status, body="<html>busy</html>"))
    visit.page.fill(FIELD, "Where is the star?")
    with visit.page.expect_response("**/queue/join*"):
        visit.page.press(FIELD, "Enter")
    expect(visit.page.locator(FIELD)).to_have_value("Where is the star?")
    visit.page.unroute("**/queue/join*")
    visit.page.press(FIELD, "Enter")
    assert visit.wait_for_answer(1)


def test_a_broken_stream_is_opened_again(visit: Visit) -> None:
    broken = [True]

    def stream(route: Route) -> None:
        if broken.pop() if broken else False:
            route.fulfill(status=200, content_type="text/event-stream", body="")
        else:
            route.fallback()

    visit.page.route("**/queue/data*", stream)
    with visit.page.expect_navigation():  # Gradio reloads the page
        visit.page.click('.card:has-text("Three shapes")')
    visit.page.wait_for_selector("#player .upload-container")
    visit.pick("A rolling circle")


def test_a_returned_question_does_not_replace_a_draft(visit: Visit) -> None:
    visit.pick("Three shapes")
    asked = visit.hold_event("ask")
    visit.page.fill(START, "soon")
    visit.page.fill(FIELD, "Where is the star?")
    visit.page.press(FIELD, "Enter")
    asked.wait()
    visit.page.fill(FIELD, "a draft")
    asked.release()
    visit.wait_for_toasts("'soon' is not a valid time", 2)
    expect(visit.page.locator(".chip").first).to_have_text("Where is the star?")
    expect(visit.page.locator(FIELD)).to_have_value("a draft")
    visit.page.fill(START, "")
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    expect(visit.page.locator(".turn .question")).to_have_text("Where is the star?")
    expect(visit.page.locator(FIELD)).to_have_value("a draft")
    # Undo does not replace the draft either.
    visit.page.locator(".turn .tools").get_by_text("Undo").click()
    expect(visit.page.locator(".turn")).to_have_count(0)
    expect(visit.page.locator(FIELD)).to_have_value("a draft")


def test_an_old_question_is_not_asked_about_another_video(visit: Visit) -> None:
    visit.pick("Three shapes")
    asked = visit.hold_event("ask")
    visit.page.fill(FIELD, "Where is the star?")
    visit.page.press(FIELD, "Enter")
    asked.wait()
    visit.pick("A rolling circle")
    expect(visit.page.locator("#about")).to_contain_text("motion.mp4")
    asked.release()
    visit.wait_for_toasts("something else was selected")
    expect(visit.page.locator(FIELD)).to_have_value("Where is the star?")
    assert visit.page.locator(".turn").count() == 0
    assert visit.complaints == []


def test_nothing_of_the_old_video_is_shown_next_to_a_new_picture(visit: Visit) -> None:
    visit.pick("A rolling circle")
    expect(visit.page.locator("#cost")).to_contain_text("One frame every")
    held = visit.hold_event("select")
    visit.page.click('.card:has-text("A picture")')
    visit.page.wait_for_selector("#picture img")
    held.wait()
    expect(visit.page.locator('.film[data-state="waiting"]')).to_have_attribute("data-count", "0")
    expect(visit.page.locator(".film-state")).to_have_text("opening the file…")
    expect(visit.page.locator("#about")).not_to_contain_text("motion.mp4")
    expect(visit.page.locator("#cost")).not_to_contain_text("One frame every")
    expect(visit.page.locator(".timeline")).to_have_attribute("data-state", "empty")
    held.release()
    visit.wait_for_frames(1)
    expect(visit.page.locator("#about")).to_contain_text("picture.png")
    assert visit.complaints == []


def test_after_a_failed_selection_the_page_does_not_wait(visit: Visit) -> None:
    visit.pick("A rolling circle")
    visit.page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "no room"}))
    visit.page.click('.card:has-text("Three shapes")')
    expect(visit.page.locator(".film")).to_have_attribute("data-state", "empty", timeout=SLOW)
    visit.page.unroute("**/queue/join*")
    set_budget(visit, 9)
    visit.wait_for_frames(9)


def test_budgets_in_quick_succession_end_with_the_last_one(desk: Visit) -> None:
    """Frames of an old budget are not requested: the server knows only the newest."""
    for count in (100, 90, 80, 70, 60, 50, 40, 30):
        set_budget(desk, count)
        desk.page.wait_for_timeout(15 * (count // 10 % 3))
    desk.wait_for_frames(30)
    expect(desk.page.locator("#cost")).to_contain_text("30 frames")
    assert desk.complaints == []


def test_a_range_that_is_being_drawn_while_frames_arrive(desk: Visit) -> None:
    held = desk.hold_event("select")
    set_budget(desk, 20)
    held.wait()
    desk.page.locator(".track").scroll_into_view_if_needed()
    box = desk.page.locator(".track").bounding_box()
    assert box is not None
    across = box["y"] + box["height"] / 2
    desk.page.mouse.move(box["x"] + 0.25 * box["width"], across)
    desk.page.mouse.down()
    desk.page.mouse.move(box["x"] + 0.5 * box["width"], across, steps=4)
    held.release()
    desk.wait_for_frames(20)
    expect(desk.page.locator(".track-range")).to_be_visible()
    desk.page.mouse.move(box["x"] + 0.75 * box["width"], across, steps=4)
    desk.page.mouse.up()
    expect(desk.page.locator(".trail > *")).to_have_count(2)
    expect(desk.page.locator(START)).to_have_value("0:10")


def test_the_scroll_position_of_the_frames_follows_their_time(desk: Visit) -> None:
    top = """() => {
      const list = document.querySelector(".film-frames"), line = list.getBoundingClientRect().top + 12;
      const first = [...list.children].find((one) => one.getBoundingClientRect().bottom > line);
      return Number(first?.firstChild.dataset.seconds);
    }"""
    desk.page.eval_on_selector(".film-frames", "list => { list.scrollTop = list.scrollHeight; }")
    before = desk.page.evaluate(top)
    assert before > 10
    set_budget(desk, 128)
    desk.wait_for_frames(128)
    desk.page.wait_for_function(f"Math.abs(({top})() - {before}) < 5")


def test_the_focus_stays_in_the_frames_after_a_closer_look(desk: Visit) -> None:
    desk.page.focus(".film button")
    for _ in range(20):
        desk.page.keyboard.press("ArrowRight")
    seconds = float(desk.page.evaluate("document.activeElement.dataset.seconds"))
    desk.page.keyboard.press("l")
    desk.page.wait_for_function(f"Number(document.querySelector('.film button')?.dataset.seconds) > {seconds - 2}")
    desk.page.wait_for_function("document.activeElement.closest('.film-frames li')")
    assert abs(float(desk.page.evaluate("document.activeElement.dataset.seconds")) - seconds) < 1
    desk.page.keyboard.press("ArrowRight")
    assert desk.page.evaluate("document.activeElement.closest('.film-frames li') !== null")


def test_the_focus_stays_in_the_chat(visit: Visit) -> None:
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    visit.page.wait_for_selector(".attribution-head", timeout=SLOW)
    page, edit = visit.page, visit.page.locator("[data-tool=edit]")
    edit.focus()
    page.keyboard.press("Enter")
    assert focused(visit) == "edit-area"
    page.keyboard.press("Escape")
    expect(edit).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Where is the circle?")
    page.keyboard.press("Enter")
    expect(page.locator(".chat-log")).to_be_focused()
    expect(page.locator(".turn .question")).to_have_text("Where is the circle?")
    # Later updates redraw an answer's buttons, or remove them.
    page.wait_for_selector(".turn:not(.live) [data-tool=retry]")
    page.focus("[data-tool=copy]")
    page.wait_for_selector(".attribution-head", timeout=SLOW)
    expect(page.locator("[data-tool=copy]")).to_be_focused()
    page.focus("[data-tool=retry]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn:not(.live) [data-tool=retry]")
    page.wait_for_function("document.activeElement.closest('.chat') !== null")
    page.focus(".chat-clear")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(0)
    page.wait_for_function("document.activeElement.closest('.chat') !== null")


def test_a_question_that_is_being_edited_survives_its_turn(visit: Visit) -> None:
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    visit.page.locator("[data-tool=edit]").click()
    visit.page.fill(".edit-area", "Where is the star?")
    visit.page.click(".chat-clear")
    expect(visit.page.locator(".turn")).to_have_count(0)
    expect(visit.page.locator(FIELD)).to_have_value("Where is the star?")


def test_the_chat_stays_where_the_visitor_scrolled(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1440, "height": 700})
    visit.pick("Three shapes")
    for _ in range(4):
        visit.ask("What do you see?")
    visit.page.evaluate("window.latency = 800")
    visit.page.fill(FIELD, "Where is the star?")
    visit.page.press(FIELD, "Enter")
    log = visit.page.locator(".chat-log")
    assert log.evaluate("log => log.scrollHeight > log.clientHeight + 200")
    log.evaluate("log => { log.scrollTop = 0; }")
    visit.wait_for_answer(5)
    assert log.evaluate("log => log.scrollTop") == 0
    # The next question shows its answer.
    visit.ask("Where is the circle?")
    visit.page.wait_for_function(
        "() => { const log = document.querySelector('.chat-log');"
        " return log.scrollHeight - log.scrollTop - log.clientHeight < 80; }"
    )


def test_a_late_toast_is_shown_as_long_as_the_first(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.clock.install()
    visit = Visit(context, address)
    visit.pick("Three shapes")
    for text in ("soon", "later"):
        visit.page.fill(START, text)
        visit.page.press(START, "Enter")
        visit.wait_for_toasts(f"'{text}' is not a valid time")
        context.clock.run_for(9000)
    expect(visit.page.locator(".toast-body")).to_contain_text("'later' is not a valid time")
    context.clock.run_for(3000)
    expect(visit.page.locator(".toast-body")).to_have_count(0)
    context.close()


def test_text_typed_right_after_a_question_is_the_next_question(desk: Visit) -> None:
    """Gradio reads the field a moment after the key press."""
    desk.page.fill(FIELD, "What do you see?")
    desk.page.locator(FIELD).evaluate(
        """field => {
          field.dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true }));
          field.value += "a draft";
          field.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
    )
    desk.wait_for_answer(1)
    expect(desk.page.locator(".turn .question")).to_have_text("What do you see?")
    expect(desk.page.locator(FIELD)).to_have_value("a draft")
