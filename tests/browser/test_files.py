"""Files go to the field for their content, whatever their names and wherever they were dropped."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, expect

from tests.support.browser import Visit
from tests.support.clips import write_clip

SLOW = 90_000
# Drops files on a field, with the type that this browser gives them.
DROP = """async ([place, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name));
  const event = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: files });
  document.querySelector(place).dispatchEvent(event);
  return event.defaultPrevented;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def film(folder: Path) -> Path:
    return write_clip(folder / "film.mp4", 2)


@pytest.fixture(scope="module")
def shared(browser: Browser, address: str) -> Iterator[Visit]:
    """One page for all file names."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield Visit(context, address)
    context.close()


def draw(number: int) -> Image.Image:
    picture = Image.new("RGB", (160, 120), "navy")
    ImageDraw.Draw(picture).rectangle((20 * number, 30, 20 * number + 30, 80), "orange")
    return picture


def write_moving(path: Path, kind: str) -> Path:
    first, *others = [draw(number) for number in range(5)]
    first.save(path, kind, save_all=True, append_images=others, duration=200)
    return path


def drop(visit: Visit, place: str, path: Path, name: str | None = None) -> None:
    data = base64.b64encode(path.read_bytes()).decode()
    assert visit.page.evaluate(DROP, [place, name or path.name, data])


def expect_file(visit: Visit, name: str, tab: str) -> None:
    """The page shows the file's frames, name and tab."""
    expect(visit.page.locator("#about")).to_contain_text(name, timeout=SLOW)
    visit.wait_for_frames()
    expect(visit.page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(
    "name", ["IMG_0001.MOV", "clip.Mov", "CLIP.QT", "a.3gp", "A.3G2", "film.mk3d", "FILM.MK3D", "no ending", "x.y.M4V"]
)
def test_a_video_is_accepted_whatever_its_name(shared: Visit, film: Path, folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(film.read_bytes())
    shared.upload(path)
    expect_file(shared, name, "Video")
    assert shared.page.evaluate("window.toasts") == []
    assert shared.complaints == []


def test_a_dropped_file_with_an_iphones_name(visit: Visit, film: Path) -> None:
    drop(visit, "#player .upload-container", film, "IMG_0002.MOV")
    expect_file(visit, "IMG_0002.MOV", "Video")
    # Dropped next to the fields, it does not navigate the tab. Dropped on the player, it replaces the video.
    drop(visit, "#chat", film, "elsewhere.mp4")
    drop(visit, "#player", film, "IMG_0003.MOV")
    expect_file(visit, "IMG_0003.MOV", "Video")
    assert visit.complaints == []


@pytest.mark.parametrize(("name", "kind"), [("moving.png", "PNG"), ("MOVING.PNG", "PNG"), ("moving.gif", "GIF")])
def test_animations_are_videos_in_either_field(visit: Visit, folder: Path, name: str, kind: str) -> None:
    path = write_moving(folder / name, kind)
    visit.upload(path)
    expect_file(visit, name, "Video")
    assert len(visit.frame_seconds) == 5
    visit.page.get_by_role("tab", name="Picture").click()
    visit.page.set_input_files("#picture input[type=file]", str(path))
    expect(visit.page.get_by_role("tab", name="Video")).to_have_attribute("aria-selected", "true")
    expect_file(visit, name, "Video")
    assert visit.page.evaluate("window.toasts") == []
    assert visit.complaints == []


@pytest.mark.parametrize(
    ("name", "kind"), [("still.png", "PNG"), ("still.jpg", "JPEG"), ("still.GIF", "GIF"), ("photo.mp4", "WEBP")]
)
def test_a_picture_in_the_video_field_moves_to_the_picture_field(
    visit: Visit, folder: Path, name: str, kind: str
) -> None:
    draw(1).save(folder / name, kind)
    visit.upload(folder / name)
    expect_file(visit, name, "Picture")
    assert visit.page.locator("#player video").count() == 0
    assert visit.page.evaluate("window.toasts") == []
    assert visit.complaints == []


def test_a_video_dropped_on_a_picture_replaces_it(visit: Visit, folder: Path, film: Path) -> None:
    draw(2).save(folder / "first.png")
    drop(visit, "#player .upload-container", folder / "first.png")
    expect_file(visit, "first.png", "Picture")
    drop(visit, "#picture", film)
    expect_file(visit, "film.mp4", "Video")
    drop(visit, "#player", folder / "first.png", "second.png")
    expect_file(visit, "second.png", "Picture")
    assert visit.complaints == []


@pytest.mark.parametrize("locale", ["fr-FR", "zh-CN"])
def test_a_drop_on_a_full_field_in_another_language(
    browser: Browser, address: str, folder: Path, film: Path, locale: str
) -> None:
    """Gradio's buttons have other labels there."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale=locale)
    visit = Visit(context, address)
    for name in ("first.mp4", "second.mp4"):
        drop(visit, "#player", film, name)
        expect(visit.page.locator("#about")).to_contain_text(name, timeout=SLOW)
        visit.wait_for_frames()
    for name in ("first.png", "second.png"):
        draw(3).save(folder / name)
        drop(visit, "#picture" if visit.page.locator("#picture").is_visible() else "#player", folder / name)
        expect(visit.page.locator("#about")).to_contain_text(name, timeout=SLOW)
        visit.wait_for_frames(1)
    context.close()


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt", "notes.MOV"])
def test_other_files_get_one_message_and_the_last_video_comes_back(
    visit: Visit, folder: Path, film: Path, name: str
) -> None:
    visit.pick("A rolling circle")
    seconds = visit.frame_seconds
    (folder / name).write_text("these are not pictures")
    visit.upload(folder / name)
    visit.wait_for_toasts(f"{name} is a text file")
    expect(visit.page.locator("#about .problem")).to_contain_text(f"{name} is a text file")
    expect_file(visit, "motion.mp4", "Video")
    assert visit.frame_seconds == seconds
    expect(visit.page.locator("#cost")).to_contain_text("One frame every")
    expect(visit.page.locator("#preview .preview")).to_be_hidden()
    assert visit.page.evaluate("window.toasts.length") == 1
    # The next file is accepted.
    visit.upload(film)
    expect_file(visit, "film.mp4", "Video")
    assert visit.page.evaluate("window.toasts.length") == 1
    assert visit.complaints == []


def test_a_text_file_named_png_gets_one_message(visit: Visit, folder: Path) -> None:
    (folder / "notes.png").write_text("these are not pictures")
    visit.page.get_by_role("tab", name="Picture").click()
    visit.page.set_input_files("#picture input[type=file]", str(folder / "notes.png"))
    visit.wait_for_toasts("notes.png is a text file")
    expect(visit.page.locator(".film")).to_have_attribute("data-state", "empty")
    assert visit.page.evaluate("window.toasts.length") == 1
