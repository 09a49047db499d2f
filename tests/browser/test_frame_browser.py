"""The frame browser: keyboard, larger view, size, following the player, and downloads."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Download, Page, Route, expect

from tests.support.browser import Visit

FOCUSED = "[...document.querySelectorAll('.film-frames li')].indexOf(document.activeElement.closest('li'))"


@pytest.fixture
def film(visit: Visit) -> Iterator[Page]:
    visit.page.set_default_timeout(120_000)
    visit.pick("A rolling circle")
    visit.page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    yield visit.page
    assert visit.complaints == []


def columns(page: Page) -> int:
    return int(
        page.eval_on_selector(".film-frames", "list => getComputedStyle(list).gridTemplateColumns.split(' ').length")
    )


def test_one_tab_stop_and_arrows_in_two_dimensions(film: Page) -> None:
    film.focus(".film-frames button")
    across = columns(film)
    assert 2 <= across <= 12
    for key, there in (
        ("ArrowRight", 1),
        ("ArrowDown", 1 + across),
        ("ArrowLeft", across),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 15),
        ("ArrowRight", 15),
        ("Home", 0),
        ("ArrowRight", 1),
    ):
        film.keyboard.press(key)
        assert film.evaluate(FOCUSED) == there, key
        stops = film.eval_on_selector_all(".film-frames button", "all => all.map((one) => one.tabIndex)")
        assert [number for number, stop in enumerate(stops) if stop == 0] == [there]
    # One Tab leaves the frames.
    film.keyboard.press("Tab")
    assert film.evaluate("document.activeElement.dataset.file") == "contact-sheet.jpg"


def test_the_larger_view_on_hover_and_focus_does_not_shift_the_layout(film: Page) -> None:
    held: list[Route] = []
    film.route("**/frame/*.jpg", lambda route: held.append(route))
    loupe = film.locator(".loupe")
    box = ".film-frames li:nth-child(4) .film-picture"
    film.locator(".film-foot").scroll_into_view_if_needed()
    before = film.locator(box).bounding_box()
    film.hover(".film-frames li:nth-child(4) button")
    expect(loupe).to_be_visible()
    expect(loupe).to_contain_text("0:00.9 · frame 29")
    assert film.locator(box).bounding_box() == before
    shown, small = film.locator(".loupe-picture").bounding_box(), before
    assert shown is not None
    assert small is not None
    assert shown["width"] > 2 * small["width"]
    assert shown["width"] / shown["height"] == pytest.approx(small["width"] / small["height"], rel=0.02)
    # It shows the same part of the same sheet.
    style = "node => [node.style.backgroundImage, node.style.backgroundPosition]"
    assert film.eval_on_selector(".loupe-picture", style) == film.eval_on_selector(box, style)
    # Until the frame arrives in the size of the player.
    while not held:
        film.wait_for_timeout(20)
    held[0].continue_()
    expect(film.locator(".loupe-picture[data-sharp='3']")).to_be_visible()
    assert "/frame/29.jpg" in film.eval_on_selector(".loupe-picture", "node => node.style.backgroundImage")
    assert film.locator(".loupe-picture").bounding_box() == shown
    film.mouse.move(2, 2)
    expect(loupe).to_be_hidden()
    film.focus(".film-frames button")
    film.keyboard.press("ArrowRight")
    expect(loupe).to_be_visible()
    film.keyboard.press("Escape")
    expect(loupe).to_be_hidden()
    assert film.evaluate(FOCUSED) == 1


def test_nothing_shows_through_the_larger_view(film: Page) -> None:
    """Fields and their labels have a z-index of their own."""
    film.locator(".timeline").scroll_into_view_if_needed()
    film.hover(".film-frames li:nth-child(1) button")
    loupe = film.locator(".loupe")
    expect(loupe.locator(".loupe-picture[data-sharp='0']")).to_be_visible()  # nothing else changes it
    # Above both fields, wherever the layout puts them.
    names = ("#start", "#end")
    boxes = [film.locator(name).bounding_box() for name in names]
    assert all(boxes)
    film.evaluate(
        "([left, top]) => document.querySelector('.loupe').style.cssText += `;left:${left}px;top:${top}px;width:320px`",
        [boxes[0]["x"] - 20, boxes[0]["y"] - 20],  # type: ignore[index]
    )
    shown = loupe.bounding_box()
    assert shown is not None
    for box in boxes:
        assert box is not None
        assert shown["x"] < box["x"] < box["x"] + box["width"] < shown["x"] + shown["width"]
        assert shown["y"] < box["y"] < shown["y"] + shown["height"] - 30
    before = loupe.screenshot()
    film.add_style_tag(content="#start, #end { visibility: hidden; } #start *, #end * { visibility: hidden; }")
    assert loupe.screenshot() == before


def test_a_press_between_frames_selects_none(film: Page) -> None:
    film.locator(".film-frames").click(position={"x": 3, "y": 3})
    film.keyboard.press("l")
    film.keyboard.press("ArrowRight")
    film.keyboard.press("Tab")
    assert film.evaluate(FOCUSED) == 0
    expect(film.locator(".trail > *")).to_have_count(1)


def test_the_size_slider_makes_frames_larger(film: Page) -> None:
    before, across = film.locator(".film-picture").first.bounding_box(), columns(film)
    film.focus(".film-size")
    film.keyboard.press("End")
    after = film.locator(".film-picture").first.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > 2 * before["width"]
    assert columns(film) < across


def test_the_frame_at_the_players_position_is_marked_and_stays_visible(film: Page) -> None:
    seconds = film.eval_on_selector_all(".film-frames button", "all => all.map((one) => Number(one.dataset.seconds))")
    marked = "[...document.querySelectorAll('.film-frames li')].findIndex((li) => li.matches('[aria-current]'))"
    for number in (5, 14, 2):
        film.eval_on_selector("#player video", f"video => {{ video.currentTime = {seconds[number]} + 0.05; }}")
        film.wait_for_function(f"{marked} === {number}")
    film.focus(".film-size")
    film.keyboard.press("End")
    film.mouse.move(2, 2)
    film.eval_on_selector("#player video", f"video => {{ video.currentTime = {seconds[12]}; video.play(); }}")
    film.wait_for_function("""() => {
      const list = document.querySelector(".film-frames"), item = list.querySelector("[aria-current]");
      const [box, view] = [item.getBoundingClientRect(), list.getBoundingClientRect()];
      return list.scrollTop > 0 && box.top >= view.top - 1 && box.top < view.bottom;
    }""")


def saved(film: Page, name: str) -> bytes:
    with film.expect_download() as waiting:
        film.click(f'.film-foot a[data-file="{name}"]')
    download: Download = waiting.value
    assert download.suggested_filename == f"motion-{name}"
    return Path(download.path()).read_bytes()


def test_contact_sheet_frames_and_plan_can_be_saved(film: Page) -> None:
    plan = json.loads(saved(film, "plan.json"))
    assert plan["video"]["path"] == "motion.mp4"
    shown = film.eval_on_selector_all(".film-frames button", "all => all.map((one) => Number(one.dataset.seconds))")
    assert [frame["seconds"] for frame in plan["frames"]] == pytest.approx(shown, abs=0.001)
    with Image.open(io.BytesIO(saved(film, "contact-sheet.jpg"))) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width >= 4 * 100
    with zipfile.ZipFile(io.BytesIO(saved(film, "frames.zip"))) as archive:
        assert archive.testzip() is None
        assert [int(name.split("-")[2]) for name in archive.namelist()] == [frame["index"] for frame in plan["frames"]]
        with Image.open(io.BytesIO(archive.read(archive.namelist()[-1]))) as frame:
            assert frame.size == (plan["video"]["width"], plan["video"]["height"])
