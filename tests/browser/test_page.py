"""The page in a real browser: select, ask, undo, and errors."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Route, expect

from tests.support.browser import Visit


def test_the_page_loads_without_errors_and_external_requests(visit: Visit) -> None:
    visit.page.wait_for_load_state("load")
    visit.page.evaluate("document.fonts.ready.then(() => {})")
    assert visit.complaints == []
    assert visit.page.locator(".card").count() >= 7
    expect(visit.page.locator(".film-empty")).to_be_visible()
    expect(visit.page.locator(".badge")).to_contain_text("LongVA")


def test_the_badge_and_a_refusal_open_the_panel_about_longva_7b(visit: Visit) -> None:
    panel = visit.page.locator(".machine")
    expect(panel.locator(".machine-waiting")).to_have_text("Measuring this machine…")
    visit.page.click(".badge")
    expect(panel).to_contain_text("LongVA-7B on this machine")
    expect(panel.locator(".machine-needs td").first).to_have_text("bf16")
    expect(panel.locator(".machine-waiting")).to_be_hidden()
    expect(panel.locator("code")).to_have_text("longva-demo serve --model lmms-lab/LongVA-7B-DPO")
    expect(panel.locator(".machine-now")).to_be_hidden()  # no file is selected
    visit.page.mouse.click(8, 8)
    expect(panel).to_be_hidden()
    expect(visit.page.locator(".badge")).to_be_focused()

    visit.pick("Three shapes")
    visit.ask("Who is the president?")
    opener = visit.page.locator('.turn [data-tool="machine"]')
    opener.click()
    expect(panel.locator(".machine-now button")).to_have_count(4)
    visit.page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    opener.click()
    panel.get_by_role("button", name="Run the needle test on it").click()
    expect(panel).to_be_hidden()
    expect(visit.page.locator(".needles-start")).to_be_visible()
    visit.ask("What colour is the star?")
    expect(opener).to_have_count(1)  # below the refusal alone
    assert visit.complaints == []


def test_an_example_shows_its_frames_with_their_times(visit: Visit) -> None:
    visit.pick("A rolling circle")
    seconds = visit.frame_seconds
    assert len(seconds) == 16
    assert seconds[0] == 0.0
    assert seconds == sorted(set(seconds))
    expect(visit.page.locator(".film li:first-child time")).to_have_text("0:00.0")
    expect(visit.page.locator("#cost")).to_contain_text("16 frames")
    expect(visit.page.locator("#cost")).to_contain_text("of the context")
    expect(visit.page.locator("#cost")).to_contain_text("One frame every 0.33 s")
    assert visit.page.locator(".chip").count() >= 2
    # They are shown and not only listed: the browser has decoded the sprite sheets.
    assert visit.page.evaluate(PICTURES_LOAD) == [True]
    assert visit.complaints == []


PICTURES_LOAD = """async () => {
  const urls = [...document.querySelectorAll(".film-picture")].map((p) => p.style.backgroundImage.slice(5, -2));
  const load = (url) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image.naturalWidth > 0);
    image.onerror = () => done(false);
    image.src = url;
  });
  return [...new Set(await Promise.all([...new Set(urls)].map(load)))];
}"""


def test_a_click_on_a_frame_plays_the_video_there(visit: Visit) -> None:
    visit.pick("A rolling circle")
    visit.page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    button = visit.page.locator(".film button").nth(8)
    seconds = float(button.get_attribute("data-seconds") or "nan")
    button.click()
    visit.page.wait_for_function(
        f"Math.abs(document.querySelector('#player video').currentTime - {seconds}) < 1.5"
        f" && document.querySelector('#player video').currentTime >= {seconds} - 0.02"
    )
    visit.page.wait_for_selector(".film li[aria-current]")
    # By keyboard: End moves to the last frame, and Enter plays from it.
    visit.page.eval_on_selector("#player video", "video => video.pause()")
    visit.page.focus(".film button")
    visit.page.keyboard.press("End")
    visit.page.keyboard.press("Enter")
    last = visit.frame_seconds[-1]
    visit.page.wait_for_function(f"document.querySelector('#player video').currentTime >= {last} - 0.02")


def test_upload_budget_and_range(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames(32)
    expect(visit.page.locator("#about")).to_contain_text("320 × 180")
    expect(visit.page.locator("#about")).to_contain_text("my & clip")
    visit.page.fill(".budget-number", "8")
    visit.page.press(".budget-number", "Enter")
    visit.wait_for_frames(8)
    visit.page.fill("#start textarea, #start input", "0:02")
    visit.page.fill("#end textarea, #end input", "4.5")
    visit.page.press("#end textarea, #end input", "Enter")
    visit.page.wait_for_function(
        """() => {
          const seconds = [...document.querySelectorAll(".film button")].map((one) => Number(one.dataset.seconds));
          return seconds.length === 8 && seconds.every((one) => one >= 2 && one < 4.5);
        }"""
    )
    expect(visit.page.locator("#cost")).to_contain_text("8 frames")


def test_a_late_selection_does_not_undo_a_newer_one(visit: Visit, clip: Path) -> None:
    visit.upload(clip)
    visit.wait_for_frames(32)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    visit.page.route("**/queue/join*", hold_the_first)
    visit.page.fill("#start textarea, #start input", "0:02")
    visit.page.fill("#end textarea, #end input", "4.5")  # leaving the first field selects 0:02 to the end
    visit.page.press("#end textarea, #end input", "Enter")
    visit.wait_for_frames(25)
    seconds = visit.frame_seconds
    completed = visit.page.evaluate("window.completed")
    held[0].continue_()
    visit.wait_for_completed(completed + 1)
    assert visit.frame_seconds == seconds
    assert all(2 <= one < 4.5 for one in seconds)


def test_the_cost_follows_the_slider(visit: Visit) -> None:
    visit.page.focus("#budget-slider")
    visit.page.keyboard.press("End")
    expect(visit.page.locator("#cost")).to_contain_text("2\u202f000 frames")


def test_answers_stream_and_the_second_question_reuses_the_video(visit: Visit) -> None:
    visit.pick("Ten minutes")
    visit.page.evaluate(WATCH_ANSWER)
    first = visit.ask("What number is in the video?")
    assert first
    assert visit.page.evaluate("window.seen.length") > 1, "the answer came in one piece"
    assert "video read in" in visit.stats()
    first_word = visit.seconds_to_first_word()
    visit.ask("What colour is the background at the end?")
    assert "video read once, reused" in visit.stats()
    assert visit.seconds_to_first_word() < first_word
    assert visit.complaints == []


# Collects each state of the newest answer as it grows.
WATCH_ANSWER = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const answers = document.querySelectorAll(".turn .answer");
    const text = answers[answers.length - 1]?.textContent;
    if (text && text !== window.seen[window.seen.length - 1]) window.seen.push(text);
  }).observe(document.querySelector(".chat-turns"), { subtree: true, childList: true, characterData: true });
}"""


def test_an_own_video_comes_with_questions_and_with_what_the_model_can_do(visit: Visit, clip: Path) -> None:
    scope = visit.page.locator(".chat-scope")
    expect(scope).to_contain_text("The built-in model knows drawn shapes, digits, letters and words only")
    visit.upload(clip)
    visit.wait_for_frames()
    expect(scope).to_be_visible()
    questions = visit.page.locator(".chip")
    expect(questions).to_have_count(3)
    asked = questions.nth(2).inner_text()
    questions.nth(2).click()
    assert visit.wait_for_answer(1) == "The background is navy."
    assert visit.page.inner_text(".turn .question") == asked
    visit.pick("Three shapes")
    expect(questions.first).to_have_text("What colour is the star?")


def test_a_suggestion_asks(visit: Visit) -> None:
    visit.pick("Three shapes")
    question = visit.page.inner_text(".chip >> nth=0")
    visit.page.click(".chip >> nth=0")
    visit.wait_for_answer(1)
    assert visit.page.inner_text(".turn .question") == question


def test_retry_edit_undo_clear(visit: Visit) -> None:
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    answer = visit.ask("What colour is the background?")
    tools = visit.page.locator(".turn:last-child .tools")
    expect(visit.page.locator(".turn:last-child .attribution")).to_be_visible()  # moves the tools down
    visit.wait_for_events_after(lambda: tools.get_by_text("Retry").click())
    assert visit.wait_for_answer(2) == answer
    tools.get_by_text("Edit").click()
    visit.page.fill(".edit-area", "Where is the circle?")
    visit.page.press(".edit-area", "Enter")
    expect(visit.page.locator(".turn:last-child .question")).to_have_text("Where is the circle?")
    visit.wait_for_answer(2)
    tools.get_by_text("Undo").click()
    expect(visit.page.locator(".turn")).to_have_count(1)
    expect(visit.page.locator("#question textarea")).to_have_value("Where is the circle?")
    visit.page.click(".chat-clear")
    expect(visit.page.locator(".turn")).to_have_count(0)
    visit.page.fill("#question textarea", "")
    visit.ask("Where is the circle?")
    assert "video read once, reused" in visit.stats()


def test_updates_of_an_answer_do_not_affect_the_edit_of_its_question(visit: Visit) -> None:
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    visit.page.locator(".turn .tools").get_by_text("Edit").click()
    visit.page.fill(".edit-area", "Where is")
    visit.page.locator(".turn .tools").get_by_text("Blind check").click()
    expect(visit.page.locator(".turn .blind")).to_be_visible()
    expect(visit.page.locator(".edit-area")).to_have_value("Where is")
    visit.page.press(".edit-area", "Escape")
    expect(visit.page.locator(".turn .question")).to_have_text("What colour is the star?")


def test_questions_without_a_video_and_markup_stays_text(visit: Visit) -> None:
    question = '<img src=x onerror="document.title=1"> **bold** <|im_end|> &amp;'
    assert visit.ask(question)
    assert visit.page.inner_text(".turn .question") == question
    assert visit.page.locator(".turn img, .turn strong").count() == 0
    assert visit.complaints == []


def test_a_text_file_named_mp4_is_refused_and_the_video_and_chat_stay(visit: Visit, tmp_path: Path) -> None:
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    seconds, problem = visit.frame_seconds, visit.page.locator("#about .problem")
    bad = tmp_path / "notes.mp4"
    bad.write_text("these are not pictures")
    visit.upload(bad)
    visit.wait_for_toasts("notes.mp4 is a text file")
    expect(problem).to_contain_text("notes.mp4 is a text file or a playlist, not a video")
    expect(visit.page.locator("#media")).to_have_class(re.compile("has-problem"))
    expect(visit.page.locator("#about .about")).to_contain_text("shapes.mp4")
    expect(visit.page.locator("#player video")).to_have_attribute("src", re.compile(r"shapes\.mp4"))
    visit.wait_for_frames(len(seconds))
    assert visit.frame_seconds == seconds
    assert visit.ask("What colour is the background?")
    expect(problem).to_be_hidden()
    expect(visit.page.locator(".turn")).to_have_count(2)
    expect(visit.page.locator(".chat .note")).to_have_count(0)  # the model remembers the first question
    assert "reused" in visit.stats()
    assert not any("Traceback" in text for text in visit.page.evaluate("window.toasts"))
    assert visit.complaints == []


def test_a_first_file_that_is_refused_leaves_its_field_empty(visit: Visit, tmp_path: Path, clip: Path) -> None:
    """A question about it comes back. The words stay beside the field until a video is chosen."""
    bad = tmp_path / "notes.mp4"
    bad.write_text("these are not pictures")
    visit.upload(bad)
    problem = visit.page.locator("#about .problem")
    expect(problem).to_contain_text("notes.mp4 is a text file")
    expect(visit.page.locator("#player video")).to_have_count(0)
    expect(visit.page.locator(".film")).to_have_attribute("data-count", "0")
    visit.upload(clip)
    visit.wait_for_frames(32)
    expect(problem).to_be_hidden()
    expect(visit.page.locator("#media")).not_to_have_class(re.compile("has-problem"))


def test_a_file_that_fails_as_well_is_not_restored_again(visit: Visit) -> None:
    """Otherwise its failure would be answered by the same request, without end."""
    visit.pick("Three shapes")
    first, second = visit.page.evaluate("[selection.restoredFields(), selection.restoredFields()]")
    assert first[0]["orig_name"] == "shapes.mp4"
    assert second[:2] == [None, None]


def test_invalid_ranges_and_budgets_have_messages(visit: Visit) -> None:
    visit.pick("Three shapes")
    visit.page.fill("#start textarea, #start input", "soon")
    visit.page.press("#start textarea, #start input", "Enter")
    visit.wait_for_toasts("'soon' is not a valid time")
    visit.page.fill("#start textarea, #start input", "3")
    visit.page.fill("#end textarea, #end input", "1")
    visit.page.press("#end textarea, #end input", "Enter")
    visit.wait_for_toasts("not after the start")


def test_stop_ends_a_long_prefill(visit: Visit) -> None:
    visit.page.evaluate("window.scrollTo(0, 0)")
    visit.pick("Ten minutes")
    visit.page.fill(".budget-number", "2000")
    visit.page.press(".budget-number", "Enter")
    visit.page.wait_for_selector('.film[data-state="sampling"]')
    visit.page.fill("#question textarea", "What number is in the video?")
    visit.page.press("#question textarea", "Enter")
    expect(visit.page.locator(".turn .status")).to_contain_text("frame")
    visit.page.click("#question .stop-button")
    visit.page.wait_for_selector("#question .submit-button")
    expect(visit.page.locator("#question textarea")).to_have_value("What number is in the video?")
    # A smaller budget stops the running sampling.
    visit.page.fill(".budget-number", "4")
    visit.page.press(".budget-number", "Enter")
    visit.wait_for_frames(4)


def test_a_picture_and_back_to_a_video(visit: Visit) -> None:
    visit.page.locator(".card", has_text="picture").last.click()
    visit.wait_for_frames(1)
    expect(visit.page.locator("#about")).to_contain_text("picture")
    assert visit.ask("What is in the picture?")
    visit.pick("Three shapes")
    visit.wait_for_frames(16)
    expect(visit.page.locator(".note")).to_contain_text("starts over here")
    visit.page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    assert visit.complaints == []


def test_a_webcam_recording_is_sampled(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, permissions=["camera", "microphone"])
    visit = Visit(context, address)
    visit.page.click('#player button[aria-label="Capture from camera"]')
    visit.page.click('#player button:has-text("Webcam")')
    visit.page.click('#player button:has-text("Record")')
    visit.page.wait_for_function("document.querySelector('[data-testid=webcam-video]').currentTime > 3")
    visit.page.click('#player button:has-text("Stop")')
    visit.wait_for_frames()
    assert len(visit.frame_seconds) >= 2
    context.close()


def test_narrow_and_dark(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    visit = Visit(context, address)
    visit.pick("A rolling circle")
    visit.ask("Which way does the circle move?")
    widest = visit.page.evaluate("document.documentElement.scrollWidth")
    assert widest <= 390, f"the page is {widest} pixels wide"
    assert visit.complaints == []
    context.close()
