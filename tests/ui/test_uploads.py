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
from longva_demo.ui.uploads import Ages, delete_uploads, uploaded_files
from longva_demo.ui.views import Look
from tests.ui.conftest import MODEL

HOUR = 3600.0


def write(folder: Path, name: str, size: int) -> Path:
    file = folder / name
    file.write_bytes(bytes(size))
    return file


def test_age_and_room(tmp_path: Path) -> None:
    ages = {write(tmp_path, name, 100): hours * HOUR for name, hours in (("old", 2), ("older", 5), ("new", 0))}
    old, older, new = ages
    used = write(tmp_path, "used", 100)
    ages |= {used: 90 * HOUR, tmp_path / "gone": 0.0}
    assert delete_uploads(ages, {used}, 24 * HOUR, 1000) == []
    assert delete_uploads(ages, {used}, 3 * HOUR, 1000) == [older]
    assert delete_uploads(ages, {used}, 24 * HOUR, 200) == [old]
    assert delete_uploads(ages, set(), 24 * HOUR, 1000) == [used]
    assert new.exists()


def test_the_date_may_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day ahead, or back: an upload is as old as it is, and one that comes again is new."""
    known, now = Ages(), 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    ahead, behind, gone = (write(tmp_path, name, 10) for name in ("ahead", "behind", "gone"))
    for file, hours in ((ahead, -30), (behind, 30)):
        os.utime(file, (time.time() + hours * HOUR,) * 2)
    files = {ahead, behind, gone}
    assert known.of(files) == dict.fromkeys(files, 0.0)
    now += HOUR
    gone.unlink()
    os.utime(behind, (1, 1))
    assert known.of(files) == {ahead: HOUR, behind: 0.0}
    now += 24 * HOUR
    assert delete_uploads(known.of(files), set(), 24 * HOUR, 1000) == [ahead]
    write(tmp_path, "ahead", 10)
    assert known.of(files)[ahead] == 0.0


def test_what_cannot_be_deleted_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "a folder, not a file"
    folder.mkdir()
    assert delete_uploads({folder: 9.0}, set(), -1.0, 0) == []
    assert "could not be deleted" in caplog.text


def test_a_page_holds_on_to_what_it_looks_at(clip: Path) -> None:
    engine, settings = Engine(load(MODEL), Settings()), Settings()
    pages = Pages(engine)
    assert pages.files_in_use() == set()
    pages.get("one").look_at(Look(clip, 4), engine, settings)
    assert pages.files_in_use() == {clip}
    pages.get("one").look_at(None, engine, settings)


def test_only_what_came_to_this_app_counts(tmp_path: Path) -> None:
    app = build_app(Engine(load(MODEL), Settings()), Settings())
    before = uploaded_files(app)
    upload = write(tmp_path, "clip.mp4", 10)
    app.temp_file_sets[0].add(str(upload))
    assert uploaded_files(app) - before == {upload}
