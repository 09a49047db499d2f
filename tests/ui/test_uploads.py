"""Old uploads go, and the oldest where they take too much room; what a page looks at stays."""

import os
import time
from pathlib import Path

import pytest

from longva_demo.chat import Engine
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.ui.layout import build_app
from longva_demo.ui.pages import Pages
from longva_demo.ui.uploads import delete_uploads, uploaded_files
from longva_demo.ui.views import Look
from tests.ui.conftest import MODEL

HOUR = 3600.0


def write(folder: Path, name: str, size: int, hours: float) -> Path:
    file = folder / name
    file.write_bytes(bytes(size))
    os.utime(file, (time.time() - hours * HOUR,) * 2)
    return file


def test_age_and_room(tmp_path: Path) -> None:
    old, older, new, used = (
        write(tmp_path, name, 100, hours) for name, hours in (("old", 2), ("older", 5), ("new", 0), ("used", 90))
    )
    gone = tmp_path / "gone"
    files = {old, older, new, used, gone}
    assert delete_uploads(files, {used}, 24 * HOUR, 1000) == []
    assert delete_uploads(files, {used}, 3 * HOUR, 1000) == [older]
    assert delete_uploads(files, {used}, 24 * HOUR, 200) == [old]
    assert delete_uploads(files, set(), 24 * HOUR, 1000) == [used]
    assert new.exists()


def test_what_cannot_be_deleted_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "a folder, not a file"
    folder.mkdir()
    assert delete_uploads({folder}, set(), -1.0, 0) == []
    assert "could not be deleted" in caplog.text


def test_a_page_holds_on_to_what_it_looks_at(clip: Path) -> None:
    engine, settings = Engine(load(MODEL), Settings()), Settings()
    pages = Pages(engine)
    assert pages.files_in_use() == set()
    pages.get("one").look_at(Look(clip, 4), engine, settings)
    assert pages.files_in_use() == {clip}
    pages.get("one").look_at(None, engine, settings)
    pages.drop("one")
    assert pages.files_in_use() == set()


def test_only_what_came_to_this_app_counts(tmp_path: Path) -> None:
    app = build_app(Engine(load(MODEL), Settings()), Settings())
    before = uploaded_files(app)
    upload = write(tmp_path, "clip.mp4", 10, 0)
    app.temp_file_sets[0].add(str(upload))
    assert uploaded_files(app) - before == {upload}
