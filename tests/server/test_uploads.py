"""Old uploads go, and the oldest where all takes too much room; what is in use stays, and then no more comes in."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.chat import Engine, TextDelta
from longva_demo.folders import own_files, temporary_folder
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import Pages
from longva_demo.server import build_app
from longva_demo.server.api import Api
from longva_demo.server.upload_limits import NO_ROOM, limit_uploads
from longva_demo.server.uploads import Ages, Uploads, delete_uploads, uploaded_files
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics

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
    engine, settings = Engine(load("tiny"), Settings()), Settings()
    pages = Pages(engine)
    assert pages.files_in_use() == set()
    pages.get("one").select(Selection(clip, 4), engine, settings)
    assert pages.files_in_use() == {clip}
    pages.get("one").select(None, engine, settings)


def test_only_what_came_to_this_app_counts(tmp_path: Path) -> None:
    app = build_app(Engine(load("tiny"), Settings()), Settings())
    before = uploaded_files(app)
    upload = write(tmp_path, "clip.mp4", 10)
    app.temp_file_sets[0].add(str(upload))
    assert uploaded_files(app) - before == {upload}


def test_all_that_this_process_keeps_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = write(temporary_folder("frames"), "pixels.bin", 100)
    assert frames in own_files()
    files = {write(tmp_path, name, 100) for name in ("one", "two", "used")}
    monkeypatch.setattr("longva_demo.server.uploads.own_files", lambda: {frames, *files})
    uploads = Uploads(lambda: files, lambda: {tmp_path / "used"}, 500)
    uploads.tidy()
    assert all(file.exists() for file in files)
    assert uploads.make_room(150) == 200
    assert sum(file.exists() for file in files) == 2
    assert uploads.make_room(1000) == 300
    assert [file for file in (frames, *files) if file.exists()] == [frames, tmp_path / "used"]


def test_an_upload_to_the_page_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longva_demo.server.uploads.own_files", set)
    settings = replace(Settings(), max_storage_bytes=1000)
    app = build_app(Engine(load("tiny"), settings), settings)
    upload = write(tmp_path, "clip.mp4", 900)
    app.temp_file_sets[0].add(str(upload))
    [make_room] = [
        one.kwargs["make_room"] for one in app.options["app_kwargs"]["middleware"] if "make_room" in one.kwargs
    ]
    make_room(100)
    assert upload.exists()
    make_room(200)
    assert not upload.exists()


def test_an_upload_without_room_is_refused() -> None:
    """What others have still to send counts; what says no length is cut off where the room ends."""
    asked, rooms = [], [99, 100, 105, 105, 0, 100, 1000]

    def make_room(num_bytes: int) -> int:
        asked.append(num_bytes)
        return rooms[len(asked) - 1]

    async def take(request: Request) -> PlainTextResponse:
        if request.url.query:
            inner = await run_in_threadpool(client.post, "/upload", content=bytes(10))
            return PlainTextResponse(inner.text, inner.status_code)
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/upload", take, methods=["POST"])], middleware=[limit_uploads(1000, make_room)])
    client = TestClient(app)
    pieces = [bytes(40)] * 5
    for status, text in ((507, NO_ROOM), (200, "100")):
        reply = client.post("/upload", content=bytes(100))
        assert (reply.status_code, reply.text) == (status, text)
    assert client.post("/upload?with=another", content=bytes(100)).text == NO_ROOM
    assert asked == [100, 100, 100, 110]
    for status in (507, 413, 200):
        assert client.post("/upload", content=iter(pieces)).status_code == status


def test_what_an_api_call_is_about_is_in_use(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[Path]] = []
    usual = Selection.open

    def opened(*args: object) -> object:
        seen.append(api.files_in_use())
        return usual(*args)  # type: ignore[arg-type]

    def answer(*_: object) -> Iterator[TextDelta]:
        seen.append(api.files_in_use())
        yield TextDelta("a circle")

    monkeypatch.setattr(Selection, "open", opened)
    engine = Engine(load("tiny"), Settings())
    events = EventLog(Settings(), Metrics(lambda: 0, lambda: 0, engine.prefix_cache))
    api = Api(engine, Settings(), answer, events)  # type: ignore[arg-type]
    assert list(api.chat("What is it?", str(clip), 4)) == ["a circle"]
    assert len(api.sample_frames(str(clip), 4)["frames"]) == 4
    assert seen == [{clip}] * 3
    assert api.files_in_use() == set()
