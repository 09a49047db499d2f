"""Old uploads are deleted, and the oldest when the storage is full. Files in use stay; new uploads are then refused."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from longva_demo.chat import AdmissionQueue, LocalEngine, TextDelta
from longva_demo.folders import own_files, temporary_folder
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import Pages
from longva_demo.quotas import Quotas
from longva_demo.server import build_app
from longva_demo.server.api import Api
from longva_demo.server.rate_limit import RateLimit
from longva_demo.server.reservations import Reservations
from longva_demo.server.searches import Searches
from longva_demo.server.uploads import FOLDER_BYTES, Ages, Uploads, delete_uploads, stored_bytes, uploaded_files
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _round_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count with their size alone, except in the test of what they take."""
    if "on_the_disk" not in request.node.name:
        monkeypatch.setattr("longva_demo.server.uploads.stored_bytes", lambda file: file.stat().st_size)


def write(folder: Path, name: str, size: int) -> Path:
    file = folder / name
    file.write_bytes(bytes(size))
    return file


def test_limits_of_age_and_size(tmp_path: Path) -> None:
    ages = {write(tmp_path, name, 100): hours * HOUR for name, hours in (("old", 2), ("older", 5), ("new", 0))}
    old, older, new = ages
    used = write(tmp_path, "used", 100)
    ages |= {used: 90 * HOUR, tmp_path / "gone": 0.0}
    assert delete_uploads(ages, {used}, 24 * HOUR, 1000) == []
    assert delete_uploads(ages, {used}, 3 * HOUR, 1000) == [older]
    assert delete_uploads(ages, {used}, 24 * HOUR, 200) == [old]
    assert delete_uploads(ages, set(), 24 * HOUR, 1000) == [used]
    assert new.exists()


def test_the_system_date_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day ahead, or back: ages stay correct, and a file that is uploaded again is new."""
    ages, now = Ages(), 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    ahead, behind, gone = (write(tmp_path, name, 10) for name in ("ahead", "behind", "gone"))
    for file, hours in ((ahead, -30), (behind, 30)):
        os.utime(file, (time.time() + hours * HOUR,) * 2)
    files = {ahead, behind, gone}
    assert ages.of(files) == dict.fromkeys(files, 0.0)
    now += HOUR
    gone.unlink()
    os.utime(behind, (1, 1))
    assert ages.of(files) == {ahead: HOUR, behind: 0.0}
    now += 24 * HOUR
    assert delete_uploads(ages.of(files), set(), 24 * HOUR, 1000) == [ahead]
    write(tmp_path, "ahead", 10)
    assert ages.of(files)[ahead] == 0.0


def test_files_that_cannot_be_deleted_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "a folder, not a file"
    folder.mkdir()
    assert delete_uploads({folder: 9.0}, set(), -1.0, 0) == []
    assert "cannot delete" in caplog.text


def test_the_selected_file_is_in_use(clip: Path) -> None:
    engine, settings = LocalEngine(load("tiny"), Settings()), Settings()
    pages = Pages(engine)
    assert pages.files_in_use() == set()
    pages.get("one").select(Selection(clip, 4), engine, settings)
    assert pages.files_in_use() == {clip}
    pages.get("one").select(None, engine, settings)


def test_only_uploads_to_this_app_count(tmp_path: Path) -> None:
    app = build_app(LocalEngine(load("tiny"), Settings()), Settings())
    before = uploaded_files(app)
    upload = write(tmp_path, "clip.mp4", 10)
    app.temp_file_sets[0].add(str(upload))
    assert uploaded_files(app) - before == {upload}


def test_all_files_of_this_process_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = write(temporary_folder("frames"), "pixels.bin", 100)
    assert frames in own_files()
    files = {write(tmp_path, name, 100) for name in ("one", "two", "used")}
    monkeypatch.setattr("longva_demo.server.uploads.own_files", lambda: {frames, *files})
    uploads = Uploads(lambda: files, lambda: {tmp_path / "used"}, 500)
    uploads.clean_up()
    assert all(file.exists() for file in files)
    assert uploads.free_space(150) == 200
    assert sum(file.exists() for file in files) == 2
    assert uploads.free_space(1000) == 300
    assert [file for file in (frames, *files) if file.exists()] == [frames, tmp_path / "used"]


def test_an_upload_to_the_page_frees_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longva_demo.server.uploads.own_files", set)
    settings = replace(Settings(), max_storage_bytes=1000)
    app = build_app(LocalEngine(load("tiny"), settings), settings)
    upload = write(tmp_path, "clip.mp4", 900)
    app.temp_file_sets[0].add(str(upload))
    layers = app.options["app_kwargs"]["middleware"]
    [uploads] = {value.storage for layer in layers for value in layer.args if isinstance(value, Reservations)}
    uploads.free_space(100)
    assert upload.exists()
    assert uploads.could_fit(1000)
    assert not uploads.could_fit(1001)
    assert upload.exists()
    uploads.free_space(200)
    assert not upload.exists()


def test_small_files_count_with_what_they_take_on_the_disk(tmp_path: Path) -> None:
    file = write(tmp_path, "one byte", 1)
    assert stored_bytes(file) == 512 * file.stat().st_blocks + FOLDER_BYTES >= 4096
    assert stored_bytes(write(tmp_path, "large", 10**6)) >= 10**6 + FOLDER_BYTES


def test_the_folder_of_a_deleted_upload_is_deleted(tmp_path: Path) -> None:
    alone, one, two = tmp_path / "alone", tmp_path / "two", tmp_path / "two"
    alone.mkdir()
    two.mkdir()
    files = {write(alone, "a", 10): 9.0, write(one, "b", 10): 9.0, write(two, "c", 10): 0.0}
    delete_uploads(files, set(), 5.0, 10**9)
    assert not alone.exists()
    assert [file.name for file in two.iterdir()] == ["c"]


def test_the_file_of_an_api_call_is_in_use(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[Path]] = []
    original = Selection.open_source

    def opened(*args: object) -> object:
        seen.append(api.files_in_use())
        return original(*args)  # type: ignore[arg-type]

    def answer(*_: object) -> Iterator[TextDelta]:
        seen.append(api.files_in_use())
        yield TextDelta("a circle")

    monkeypatch.setattr(Selection, "open_source", opened)
    engine = LocalEngine(load("tiny"), Settings())
    events = EventLog(Settings(), Metrics(lambda: 0, lambda: 0, engine.figures, Quotas(Settings())))
    finder = Searches(engine, AdmissionQueue(engine.prefill_times), RateLimit(9, "questions"), events).find
    api = Api(engine, Settings(), answer, finder, events, Quotas(Settings()))  # type: ignore[arg-type]
    assert list(api.chat("What is it?", str(clip), 4)) == ["a circle"]
    assert len(api.sample_frames(str(clip), 4)["frames"]) == 4
    assert seen == [{clip}] * 3
    assert api.files_in_use() == set()
