"""A page's preview: encoded once, served to anyone with its token, deleted with the page or on another selection."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from longva_demo.chat import LocalEngine
from longva_demo.errors import VideoError
from longva_demo.model import load
from longva_demo.page.components.preview import ROUTE, Preview, preview_route, preview_steps
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits, PreviewProgress
from tests.video.clips import repeat_clip, write_clip
from tests.video.test_worker import children

SETTINGS = Settings()
LIMITS = DecodeLimits()


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), SETTINGS)


@pytest.fixture
def pages(engine: LocalEngine) -> Pages:
    return Pages(engine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("previews")


@pytest.fixture(scope="module")
def avi(folder: Path) -> Path:
    return write_clip(folder / "clip.avi", 20, codec="mpeg4", fps=10)


@pytest.fixture(scope="module")
def long_clip(folder: Path) -> Path:
    return repeat_clip(write_clip(folder / "source.avi", 20, codec="mpeg4", size=(960, 720)), 1800)


def status(pages: Pages, token: str, **headers: str) -> int:
    client = TestClient(Starlette(routes=[preview_route(pages.find_preview)]))
    return int(client.get(ROUTE.format(token=token), headers=headers).status_code)


def test_it_is_encoded_once_and_deleted_with_the_page(pages: Pages, engine: LocalEngine, avi: Path) -> None:
    page = pages.get("one")
    page.select(Selection(avi, 4), engine, SETTINGS)
    *_, last = preview_steps(page, avi, LIMITS)
    assert last["line"] == {"key": "preview.ready"}
    assert list(preview_steps(page, avi, LIMITS)) == [last]
    assert status(pages, last["token"]) == 200
    assert status(pages, last["token"], Range="bytes=0-9") == 206
    assert status(pages, "0" * 32) == 404
    page.select(Selection(avi, 5), engine, SETTINGS)  # another budget keeps it
    assert status(pages, last["token"]) == 200
    assert page.preview is not None
    folder = page.preview.file.parent
    assert folder.exists()
    page.close()
    assert not folder.exists()
    assert status(pages, last["token"]) == 404


def test_another_selection_or_none_deletes_it(pages: Pages, engine: LocalEngine, avi: Path, long_clip: Path) -> None:
    page, others = pages.get("one"), set(children())
    steps = preview_steps(page, long_clip, LIMITS)
    first = next(steps)
    assert first.keys() == {"line"}
    assert first["line"]["key"] == "preview.progress"
    assert page.preview is not None
    folder = page.preview.file.parent
    assert status(pages, page.preview.token) == 404  # not yet
    page.select(Selection(avi, 4), engine, SETTINGS)
    assert list(steps) == []
    assert not folder.exists()
    assert set(children()) == others
    *_, last = preview_steps(page, avi, LIMITS)
    page.select(None, engine, SETTINGS)
    assert status(pages, last["token"]) == 404


def test_two_requests_for_one_file(pages: Pages, avi: Path, long_clip: Path) -> None:
    """The player was drawn again in between: the first request ends, and the second one continues."""
    page = pages.get("one")
    first = preview_steps(page, long_clip, LIMITS)
    next(first)
    second = preview_steps(page, long_clip, LIMITS)
    next(second)
    assert list(first) == []
    next(second)
    second.close()  # type: ignore[attr-defined]
    *_, last = preview_steps(page, avi, LIMITS)
    assert status(pages, last["token"]) == 200


def test_a_failure_is_one_message(selected_page: Page, avi: Path) -> None:
    (line,) = [step["line"] for step in preview_steps(selected_page, avi, DecodeLimits(timeout_seconds=0.001))]
    assert line["key"] == "preview.failed"
    assert line["reason"].startswith("clip.avi")
    assert "took longer than 0.001 s" in line["reason"]


def test_a_failure_after_another_selection_is_no_message(
    selected_page: Page, engine: LocalEngine, avi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The selection deletes the folder that the worker is about to write to."""

    def fail(*_: object) -> Iterator[PreviewProgress]:
        selected_page.select(None, engine, SETTINGS)
        raise VideoError("the preview of clip.avi cannot be written", "try again")
        yield

    monkeypatch.setattr(Preview, "make", fail)
    assert list(preview_steps(selected_page, avi, LIMITS)) == []


@pytest.fixture
def selected_page(pages: Pages, engine: LocalEngine, avi: Path) -> Page:
    page = pages.get("one")
    page.select(Selection(avi, 4), engine, SETTINGS)
    return page


def test_an_unusable_file_is_reported_elsewhere(pages: Pages, tmp_path: Path) -> None:
    bad = tmp_path / "notes.avi"
    bad.write_text("not a video")
    page = pages.get("one")
    assert list(preview_steps(page, bad, LIMITS)) == [{"line": None}]
    assert page.preview is None


def test_an_ordinary_file_gets_no_preview(pages: Pages, clip: Path) -> None:
    (step,) = preview_steps(pages.get("one"), clip, LIMITS)
    assert step == {"line": {"key": "preview.helpless"}}
