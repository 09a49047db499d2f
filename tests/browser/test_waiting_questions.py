"""Questions that cannot be asked yet: they wait in the conversation, and nothing is lost."""

from pathlib import Path

from playwright.sync_api import expect

from tests.support.browser import Visit

FIELD = "#question textarea"


def test_a_question_asked_while_a_file_is_uploaded_waits_for_it(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    visit.submit("What do you see?")
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


def test_questions_wait_for_an_upload_in_their_order(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    for question in ("What do you see?", "Where is it?", "What shape is it?"):
        visit.submit(question)
    expect(visit.page.locator(".waiting .question")).to_have_text(
        ["What do you see?", "Where is it?", "What shape is it?"]
    )
    visit.page.locator(".waiting", has_text="Where is it?").get_by_role("button", name="Cancel").click()
    expect(visit.page.locator(FIELD)).to_have_value("Where is it?")
    uploads.release()
    assert visit.wait_for_answer(2)
    expect(visit.page.locator(".turn .question")).to_have_text(["What do you see?", "What shape is it?"])
    expect(visit.page.locator(FIELD)).to_have_value("Where is it?")


def test_a_question_whose_upload_is_cancelled_returns_to_its_field(visit: Visit, clip: Path) -> None:
    uploads = visit.hold_uploads()
    visit.upload(clip)
    uploads.wait()
    visit.submit("What do you see?")
    expect(visit.page.locator(".waiting")).to_be_visible()
    visit.pick("Three shapes")
    expect(visit.page.locator(FIELD)).to_have_value("What do you see?")
    uploads.release()
    assert visit.page.locator(".turn").count() == 0


def test_a_question_typed_during_an_answer_is_asked_after_it(visit: Visit) -> None:
    visit.pick("Three shapes")
    asked = visit.hold_event("ask")
    for question in ("Where is the star?", "What colour is the star?"):
        visit.submit(question)
    expect(visit.page.locator(".waiting")).to_contain_text("Will be asked after the answer above")
    expect(visit.page.locator(".waiting .question")).to_have_text("What colour is the star?")
    expect(visit.page.locator(FIELD)).to_have_value("")
    asked.release()
    assert visit.wait_for_answer(2)
    expect(visit.page.locator(".turn .question")).to_have_text(["Where is the star?", "What colour is the star?"])
    expect(visit.page.locator(".waiting")).to_have_count(0)
    assert visit.page.evaluate("window.toasts") == []
    assert visit.complaints == []


def test_a_waiting_question_is_not_asked_about_another_video(visit: Visit) -> None:
    visit.pick("Three shapes")
    asked = visit.hold_event("ask")
    for question in ("Where is the star?", "What colour is the star?"):
        visit.submit(question)
    asked.wait()
    visit.page.click('.card:has-text("A rolling circle")')
    expect(visit.page.locator(FIELD)).to_have_value("What colour is the star?")
    expect(visit.page.locator(".waiting")).to_have_count(0)
    expect(visit.page.locator("#about")).to_contain_text("motion.mp4")
    asked.release()
    visit.wait_for_toasts("something else was selected")
    assert visit.page.locator(".turn").count() == 0
