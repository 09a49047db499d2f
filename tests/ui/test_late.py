"""What arrives late undoes nothing that the visitor did since: one test for each kind of thing that it could undo."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from longva_demo.chat import Engine, WaitingLine
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.ui.asking import ask_here
from longva_demo.ui.handlers import Handlers
from longva_demo.ui.needle_test import NeedleTests
from longva_demo.ui.observe import EventLog, Metrics
from longva_demo.ui.pages import Pages
from longva_demo.video import DecodeLimits
from tests.ui.conftest import MODEL, Visit, write_clip

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
    """Gradio asks for the progress of an upload that was held, and complains: the server never heard of it."""
    found = [one for one in visit.complaints if "upload_progress" in one]
    return [one for one in visit.complaints if one not in found and not (found and "Response (" in one)]


def focused(visit: Visit) -> str:
    """The class of what has the focus, or its tag."""
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
    # The field is as it was: the next upload is taken.
    visit.upload(clip)
    expect(visit.page.locator("#about")).to_contain_text("my & clip", timeout=SLOW)
    assert complaints_beside_progress(visit) == []


def test_an_event_on_its_way_when_the_server_ends_its_stream_is_answered(visit: Visit) -> None:
    """The page does not know yet that the stream has ended: Gradio's client would wait on it for ever."""
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


def test_range_and_budget_written_while_a_file_is_uploaded(visit: Visit, long_clip: Path) -> None:
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


def test_a_question_asked_while_a_file_is_uploaded_waits_for_it(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    visit.page.fill(FIELD, "What do you see?")
    visit.page.press(FIELD, "Enter")
    expect(visit.page.locator(".waiting")).to_contain_text("What do you see?")
    visit.page.click(".waiting button")
    expect(visit.page.locator(".waiting")).to_be_hidden()
    expect(visit.page.locator(FIELD)).to_have_value("What do you see?")
    visit.page.press(FIELD, "Enter")
    visit.page.fill(FIELD, "a draft")
    uploads.release()
    assert visit.wait_for_answer(1)
    expect(visit.page.locator(".turn .question")).to_have_text("What do you see?")
    assert "video read in" in visit.stats()
    expect(visit.page.locator(FIELD)).to_have_value("a draft")
    expect(visit.page.locator(".waiting")).to_be_hidden()
    assert visit.complaints == []


def test_a_question_whose_upload_is_dropped_comes_back(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    visit.page.fill(FIELD, "What do you see?")
    visit.page.press(FIELD, "Enter")
    expect(visit.page.locator(".waiting")).to_be_visible()
    visit.pick("Three shapes")
    expect(visit.page.locator(FIELD)).to_have_value("What do you see?")
    uploads.release()
    assert visit.page.locator(".turn").count() == 0


def test_a_draft_stays_where_a_question_comes_back(visit: Visit) -> None:
    visit.pick("Three shapes")
    asked = visit.hold_event("ask")
    visit.page.fill(START, "soon")
    visit.page.fill(FIELD, "Where is the star?")
    visit.page.press(FIELD, "Enter")
    asked.wait()
    visit.page.fill(FIELD, "a draft")
    asked.release()
    visit.wait_for_toasts("'soon' is no time", 2)
    expect(visit.page.locator(".chip").first).to_have_text("Where is the star?")
    expect(visit.page.locator(FIELD)).to_have_value("a draft")
    visit.page.fill(START, "")
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    expect(visit.page.locator(".turn .question")).to_have_text("Where is the star?")
    expect(visit.page.locator(FIELD)).to_have_value("a draft")
    # Taken back, it does not take the draft's place either.
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
    asked.release()
    visit.wait_for_toasts("something else was selected")
    expect(visit.page.locator(FIELD)).to_have_value("Where is the star?")
    expect(visit.page.locator("#about")).to_contain_text("motion.mp4")
    assert visit.page.locator(".turn").count() == 0
    assert visit.complaints == []


def test_nothing_of_the_old_video_is_shown_beside_a_new_picture(visit: Visit) -> None:
    visit.pick("A rolling circle")
    expect(visit.page.locator("#cost")).to_contain_text("A frame every")
    looks = visit.hold_event("look")
    visit.page.click('.card:has-text("A picture")')
    visit.page.wait_for_selector("#picture img")
    looks.wait()
    expect(visit.page.locator('.film[data-state="waiting"]')).to_have_attribute("data-count", "0")
    expect(visit.page.locator(".film-state")).to_have_text("opening the file…")
    expect(visit.page.locator("#about")).not_to_contain_text("motion.mp4")
    expect(visit.page.locator("#cost")).not_to_contain_text("A frame every")
    expect(visit.page.locator(".timeline")).to_have_attribute("data-state", "empty")
    looks.release()
    visit.wait_for_frames(1)
    expect(visit.page.locator("#about")).to_contain_text("picture.png")
    assert visit.complaints == []


def test_a_look_that_the_server_does_not_take_leaves_nothing_waiting(visit: Visit) -> None:
    visit.pick("A rolling circle")
    visit.page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "no room"}))
    visit.page.click('.card:has-text("Three shapes")')
    expect(visit.page.locator(".film")).to_have_attribute("data-state", "empty", timeout=SLOW)
    visit.page.unroute("**/queue/join*")
    set_budget(visit, 9)
    visit.wait_for_frames(9)


def test_budgets_in_quick_succession_end_with_the_last_one(desk: Visit) -> None:
    """Frames of an old budget are asked for no more: the server knows only the newest."""
    for count in (100, 90, 80, 70, 60, 50, 40, 30):
        set_budget(desk, count)
        desk.page.wait_for_timeout(15 * (count // 10 % 3))
    desk.wait_for_frames(30)
    expect(desk.page.locator("#cost")).to_contain_text("30 frames")
    assert desk.complaints == []


def test_a_stretch_that_is_being_drawn_while_frames_come(desk: Visit) -> None:
    looks = desk.hold_event("look")
    set_budget(desk, 20)
    looks.wait()
    desk.page.locator(".track").scroll_into_view_if_needed()
    box = desk.page.locator(".track").bounding_box()
    assert box is not None
    across = box["y"] + box["height"] / 2
    desk.page.mouse.move(box["x"] + 0.25 * box["width"], across)
    desk.page.mouse.down()
    desk.page.mouse.move(box["x"] + 0.5 * box["width"], across, steps=4)
    looks.release()
    desk.wait_for_frames(20)
    expect(desk.page.locator(".track-range")).to_be_visible()
    desk.page.mouse.move(box["x"] + 0.75 * box["width"], across, steps=4)
    desk.page.mouse.up()
    expect(desk.page.locator(".trail > *")).to_have_count(2)
    expect(desk.page.locator(START)).to_have_value("0:10")


def test_the_place_in_the_frames_stays_by_its_time(desk: Visit) -> None:
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


def test_the_focus_stays_in_the_frames_after_looking_closer(desk: Visit) -> None:
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
    visit.page.wait_for_selector(".evidence-head", timeout=SLOW)
    page, edit = visit.page, visit.page.locator("[data-tool=edit]")
    edit.focus()
    page.keyboard.press("Enter")
    assert focused(visit) == "edit-area"
    page.keyboard.press("Escape")
    expect(edit).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.type(" Now?")
    page.keyboard.press("Enter")
    expect(page.locator(".chat-log")).to_be_focused()
    expect(page.locator(".turn .question")).to_have_text("What colour is the star? Now?")
    # What comes in below an answer draws its buttons again, or takes them away.
    page.wait_for_selector(".turn:not(.live) [data-tool=retry]")
    page.focus("[data-tool=copy]")
    page.wait_for_selector(".evidence-head", timeout=SLOW)
    expect(page.locator("[data-tool=copy]")).to_be_focused()
    page.focus("[data-tool=retry]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn:not(.live) [data-tool=retry]")
    page.wait_for_function("document.activeElement.closest('.chat') !== null")
    page.focus(".chat-clear")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(0)
    page.wait_for_function("document.activeElement.closest('.chat') !== null")


def test_a_question_under_edit_outlives_its_turn(visit: Visit) -> None:
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


def test_a_toast_near_the_end_of_another_is_seen_as_long(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.clock.install()
    visit = Visit(context, address)
    visit.pick("Three shapes")
    for text in ("soon", "later"):
        visit.page.fill(START, text)
        visit.page.press(START, "Enter")
        visit.wait_for_toasts(f"'{text}' is no time")
        context.clock.run_for(9000)
    expect(visit.page.locator(".toast-body")).to_contain_text("'later' is no time")
    context.clock.run_for(3000)
    expect(visit.page.locator(".toast-body")).to_have_count(0)
    context.close()


# What comes to the server late, without a browser.


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load(MODEL), SETTINGS)


@pytest.fixture
def pages(engine: Engine) -> Iterator[Pages]:
    pages = Pages(engine)
    yield pages
    pages.leave("one", for_good=True)


@pytest.fixture
def handlers(engine: Engine, pages: Pages) -> Handlers:
    return Handlers(engine, SETTINGS, pages, ask_here, make_log(engine))


def make_log(engine: Engine) -> EventLog:
    return EventLog(SETTINGS, Metrics(lambda: 1, lambda: 0, engine.prefixes))


def look(handlers: Handlers, path: Path, asked_at: float, num_frames: int = 4) -> list[tuple[Any, ...]]:
    return list(handlers.look(str(path), None, num_frames, "", "", "pyav", asked_at, REQUEST))


def ask(handlers: Handlers, question: str, asked_at: float, path: Path | None = None) -> Iterator[Any]:
    video = str(path) if path else None
    return handlers.ask(question, video, None, 4, "", "", "pyav", 0.0, 1.0, 8, asked_at, REQUEST)


def test_each_answer_says_which_selection_it_is_about(handlers: Handlers, clip: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other.mp4", 2)
    frames, about, cost, _ = look(handlers, clip, 10.0)[-1]
    assert {part["asked_at"] for part in (frames, about, cost)} == {10.0}
    last = look(handlers, other, 5.0)[-1]  # it comes after a newer one
    assert last[0] == frames
    assert last[1]["name"] == clip.name
    assert handlers.meter(REQUEST)["asked_at"] == 10.0
    same = look(handlers, clip, 20.0)[-1][0]  # the page waits for an answer to that, too
    assert same == frames | {"asked_at": 20.0}
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    seen = []
    with pytest.raises(Exception, match="text file"):
        seen.extend(handlers.look(str(bad), None, 4, "", "", "pyav", 30.0, REQUEST))
    steps = handlers.look(str(bad), None, 4, "", "", "pyav", 31.0, REQUEST)
    assert next(steps)[0] == {"token": None, "asked_at": 31.0}
    steps.close()  # type: ignore[attr-defined]


def test_late_stop_undo_and_clear_leave_a_newer_question_alone(handlers: Handlers, pages: Pages) -> None:
    steps = ask(handlers, "What is a star?", 10.0)
    next(steps)
    handlers.stop(5.0, REQUEST)
    assert not pages.get("one").stopping.is_set()
    *_, (shown, _) = steps
    assert shown["entries"][-1]["answer"]
    for act in (handlers.undo, handlers.clear):
        assert len(act(5.0, REQUEST)["entries"]) == 1
    with pytest.raises(Exception, match="the chat went on"):
        list(handlers.retry(0.0, 1.0, 8, 5.0, REQUEST))
    steps = handlers.edit(0.0, 1.0, 8, 5.0, SimpleNamespace(question="And now?"), REQUEST)  # type: ignore[arg-type]
    assert next(steps)[0]["returned"]["question"] == "And now?"
    steps = ask(handlers, "What is a circle?", 20.0)
    next(steps)
    handlers.stop(21.0, REQUEST)
    assert pages.get("one").stopping.is_set()
    list(steps)
    assert handlers.undo(22.0, REQUEST)["returned"]["question"]
    assert handlers.clear(23.0, REQUEST)["entries"] == []


def test_a_question_may_overtake_the_look_that_it_is_about(handlers: Handlers, clip: Path) -> None:
    *_, (shown, _) = ask(handlers, "What do you see?", 11.0, clip)
    assert shown["entries"][-1]["answer"]
    frames, about, _, shown = look(handlers, clip, 10.0)[-1]
    assert (frames["total"], frames["asked_at"], about["name"]) == (4, 11.0, clip.name)
    assert len(shown["entries"]) == 1


def test_late_starts_and_stops_of_the_needle_test(engine: Engine, handlers: Handlers, pages: Pages, clip: Path) -> None:
    tests = NeedleTests(engine, pages, WaitingLine(engine.reads), make_log(engine))
    look(handlers, clip, 10.0)
    assert list(tests.start(5.0, REQUEST)) == []  # for a video that was there before
    steps = tests.start(20.0, REQUEST)
    assert next(steps)["asked_at"] == 20.0
    tests.stop(15.0, REQUEST)
    assert next(steps)["running"]
    assert list(tests.start(18.0, REQUEST)) == []
    assert next(steps)["running"]
    tests.stop(21.0, REQUEST)
    *_, last = steps
    assert (last["running"], last["asked_at"]) == (False, 20.0)


def test_a_late_preview_of_an_old_file_leaves_the_new_one_alone(
    handlers: Handlers, pages: Pages, clip: Path, tmp_path: Path
) -> None:
    old = write_clip(tmp_path / "old.mp4", 2)
    look(handlers, clip, 10.0)
    page, event = pages.get("one"), SimpleNamespace(ask=1)
    preview, _ = page.start_video_preview(clip, DecodeLimits.from_settings(SETTINGS))
    assert list(handlers.preview(str(old), None, 5.0, event, REQUEST)) == []  # type: ignore[arg-type]
    assert page.preview is preview
    assert list(handlers.preview(str(clip), None, 5.0, event, REQUEST))  # type: ignore[arg-type]
