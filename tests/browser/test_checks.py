"""Blind checks and comparisons of budgets below an answer, and saved chats."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from longva_demo.cli.main import main
from tests.support.browser import Visit
from tests.support.clips import write_clip
from tests.support.server import REPOSITORY

BUSY_MS = 120_000  # the model shares its cores


def check(visit: Visit, name: str) -> None:
    visit.page.click(f'.turn:last-child .tool:has-text("{name}")')


def wait_until_idle(visit: Visit) -> None:
    visit.page.wait_for_selector("#question .submit-button", timeout=BUSY_MS)


def rows(visit: Visit) -> list[list[str]]:
    return visit.page.eval_on_selector_all(
        ".turn:last-child .budgets tr", "all => all.slice(1).map((row) => [...row.cells].map((one) => one.textContent))"
    )


def test_a_blind_check_shows_both_answers_and_does_not_change_the_chat(visit: Visit) -> None:
    visit.pick("Three shapes")
    answer = visit.ask("What colour is the star?")
    visit.page.evaluate(WATCH_BLIND)
    check(visit, "Blind check")
    expect(visit.page.locator(".verdict")).to_contain_text("Different answer without the video", timeout=BUSY_MS)
    wait_until_idle(visit)
    assert visit.page.evaluate("window.seen.length") > 1, "the blind answer came in one piece"
    blind = visit.page.inner_text(".blind-answer")
    assert visit.page.inner_text(".turn .answer").endswith(answer)
    assert blind != answer
    boxes = [visit.page.locator(name).bounding_box() for name in (".turn .answer", ".turn .blind")]
    left, right = (box for box in boxes if box is not None)
    assert left["x"] + left["width"] <= right["x"], "not side by side"
    assert abs(left["y"] - right["y"]) < 20
    expect(visit.page.locator(".turn")).to_have_count(1)
    visit.ask("Where is the circle?")
    assert "video read once, reused" in visit.stats()
    expect(visit.page.locator(".blind-answer")).to_have_text(blind)
    assert visit.complaints == []


# Collects each state of the blind answer as it grows.
WATCH_BLIND = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const text = document.querySelector(".blind")?.textContent;
    if (text && text !== window.seen[window.seen.length - 1]) window.seen.push(text);
  }).observe(document.querySelector(".chat-turns"), { subtree: true, childList: true, characterData: true });
}"""


def test_a_comparison_of_budgets_does_not_change_the_chat(visit: Visit) -> None:
    visit.pick("Three shapes")
    answer = visit.ask("What number is on the yellow square?")
    check(visit, "Compare budgets")
    visit.page.wait_for_selector(".budgets tr", timeout=BUSY_MS)
    wait_until_idle(visit)
    found = rows(visit)
    budgets, windows = found[:-1], found[-1]
    assert [row[0] for row in budgets] == ["8", "16 (this answer)", "32", "128"]  # of 150 frames
    assert [row[1] for row in budgets] == [answer] * 4
    assert windows[:2] == ["16 in 4 windows", f"0:00 {answer}"], "all windows have this answer"
    note = "Budgets of 512 frames and more are not compared: this range has 150."
    expect(visit.page.locator(".comparison-note")).to_have_text(note)
    expect(visit.page.locator(".budgets")).to_be_in_viewport(ratio=1)
    tokens = [int(row[3].replace("\u202f", "")) for row in budgets]
    assert tokens == sorted(set(tokens))
    visit.ask("Where is the circle?")
    assert "video read once, reused" in visit.stats()
    assert visit.complaints == []


def test_a_stopped_comparison_keeps_its_rows(visit: Visit) -> None:
    visit.pick("Ten minutes")
    visit.ask("What number is in the video?")
    check(visit, "Compare budgets")
    visit.page.wait_for_selector(".turn:last-child .budgets tr:nth-child(2)", timeout=BUSY_MS)
    visit.page.click("#question .stop-button")
    wait_until_idle(visit)
    assert 1 <= len(rows(visit)) < 5  # 8, 32, 128, 256 and 512 of 2,400 frames
    expect(visit.page.locator(".comparison .status")).to_have_count(0)
    visit.ask("What colour is the background?")
    assert "video read once, reused" in visit.stats()


def test_a_clip_that_is_too_short_to_compare_is_refused(visit: Visit, tmp_path: Path) -> None:
    visit.upload(write_clip(tmp_path / "short.mp4", seconds=0.6))
    visit.wait_for_frames()
    visit.ask("What colour is the circle?")
    check(visit, "Compare budgets")
    visit.wait_for_toasts("short.mp4 has 6 frames here")
    wait_until_idle(visit)
    expect(visit.page.locator(".comparison")).to_have_count(0)
    assert visit.ask("Where is it?")


def test_a_blind_check_needs_a_picture_or_video(visit: Visit) -> None:
    visit.ask("What is there?")
    assert visit.page.locator(".turn:last-child .tool").all_inner_texts() == [
        "What now?",
        "Retry",
        "Edit",
        "Undo",
        "Copy",
    ]
    visit.page.locator(".card", has_text="picture").last.click()
    visit.wait_for_frames(1)
    visit.ask("What is in the picture?")
    expect(visit.page.locator(".turn:last-child .tool").last).to_have_text("Blind check")
    check(visit, "Blind check")
    expect(visit.page.locator(".blind .verdict")).to_be_visible(timeout=BUSY_MS)


def save(visit: Visit, kind: str, folder: Path) -> Path:
    with visit.page.expect_download() as download:
        visit.page.click(f'.chat-tools [data-format="{kind}"]')
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_a_saved_chat_is_replayed_with_equal_answers(
    visit: Visit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expect(visit.page.locator(".chat-tools")).to_be_hidden()
    visit.pick("Three shapes")
    visit.ask("What colour is the star?")
    visit.ask("And the circle?")
    file = save(visit, "json", tmp_path)
    assert file.name == "shapes-chat.json"
    assert main(["replay", str(file), str(REPOSITORY / "examples" / "shapes.mp4"), "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["equal"] is True
    assert [turn["question"] for turn in reply["turns"]] == ["What colour is the star?", "And the circle?"]


def test_the_saved_page_shows_the_whole_chat_and_runs_no_script(visit: Visit, tmp_path: Path) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title = 2</script>'
    visit.pick("Three shapes")
    visit.ask(hostile)
    visit.page.fill(".budget-number", "4")
    visit.page.press(".budget-number", "Enter")
    visit.wait_for_frames(4)
    visit.ask("What colour is the star?")
    check(visit, "Blind check")
    expect(visit.page.locator(".verdict")).to_be_visible(timeout=BUSY_MS)
    wait_until_idle(visit)
    file = save(visit, "html", tmp_path)
    page = visit.page.context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    assert page.title() == "Chat about shapes.mp4"
    assert page.locator(".question").all_inner_texts() == [hostile, "What colour is the star?"]
    assert page.locator(".answer").last.inner_text() == "It is red."
    expect(page.locator(".blind")).to_contain_text("Without the video")
    assert page.locator("section ol").first.locator("img").count() == 16
    assert page.locator("section ol").last.locator("img").count() == 4
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    assert page.locator("script, a, iframe, [onerror]").count() == 0
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]


def test_a_chat_can_be_read_again_in_a_later_visit(visit: Visit) -> None:
    hostile = '<img src=x onerror="document.title=1"> & more'
    expect(visit.page.locator(".history")).to_be_hidden()
    visit.pick("Three shapes")
    visit.ask(hostile)
    answer = visit.ask("What colour is the star?")
    visit.page.wait_for_function("localStorage.getItem('longva-chats')?.includes('the star')", timeout=BUSY_MS)
    expect(visit.page.locator(".history")).to_be_hidden()
    visit.open(visit.address)  # not a reload, which would go on with the chat
    visit.page.click(".history > summary")
    visit.page.click(".history-chat > summary")
    assert visit.page.locator(".history-question").all_inner_texts() == [hostile, "What colour is the star?"]
    assert visit.page.locator(".history-answer").all_inner_texts()[1] == answer
    assert visit.page.locator(".history img").count() == 0
    # Clearing a chat removes it from the storage too. The earlier chat stays until it is deleted.
    visit.page.wait_for_selector(".film")
    visit.ask("What is there?")
    visit.page.wait_for_function("JSON.parse(localStorage.getItem('longva-chats')).length === 2", timeout=BUSY_MS)
    visit.page.click(".chat-clear")
    visit.page.wait_for_function("JSON.parse(localStorage.getItem('longva-chats')).length === 1", timeout=BUSY_MS)
    visit.page.click(".history-forget")
    expect(visit.page.locator(".history")).to_be_hidden()
    assert visit.page.evaluate("localStorage.getItem('longva-chats')") == "[]"
    assert visit.complaints == []


def test_invalid_values_in_the_storage_do_no_harm(visit: Visit) -> None:
    for value in ("no json", "7", '[null, {"record": 7}, {"record": "no json"}, {"record": "{}"}]'):
        visit.page.evaluate("(value) => localStorage.setItem('longva-chats', value)", value)
        visit.reload()
        visit.page.wait_for_selector(".chat-empty")
        expect(visit.page.locator(".history")).to_be_hidden()
    assert visit.ask("What is there?")
    visit.page.wait_for_function("localStorage.getItem('longva-chats').includes('What is there?')", timeout=BUSY_MS)
    assert visit.complaints == []
