"""Downloads of the sampled frames: the zip file and the contact sheet."""

import io
import zipfile
from pathlib import Path

import av
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.model import load
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.downloads import download_routes, zipped
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import Pages
from longva_demo.quotas import Quotas, client_of
from longva_demo.server.requests import limit_requests
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.support.clips import write_clip


def test_the_zip_contains_exactly_the_frames_and_streams(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=20)
    engine = LocalEngine(load("tiny"), Settings())
    info = probe(clip)
    source = VideoSource(info, plan_frames(info, 200), engine.processor)
    pieces = list(zipped(source))
    assert len(pieces) == 201
    assert max(map(len, pieces)) < 60_000
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive, av.open(str(clip)) as container:
        names = archive.namelist()
        assert names[150] == "0151-frame-000150-at-0.15.00.jpg"
        for name, frame in zip(names, container.decode(video=0), strict=True):
            with Image.open(io.BytesIO(archive.read(name))) as found:
                difference = np.abs(np.asarray(found, int) - frame.to_ndarray(format="rgb24").astype(int))
            assert difference.mean() < 3, name


def test_the_contact_sheet_shows_the_thumbnails_and_needs_the_token(clip: Path) -> None:
    engine = LocalEngine(load("tiny"), Settings())
    info = probe(clip)
    source = VideoSource(info, plan_frames(info, 30), engine.processor)
    sheets = Sheets(30)
    for batch in source.frames():
        sheets.add(batch)
    sheets.finish()
    routes = download_routes(lambda token: (sheets, source) if token == "here" else None, Quotas(Settings()))
    client = TestClient(Starlette(routes=routes))
    for name in ("contact-sheet.jpg", "frames.zip", "plan.json"):
        assert client.get(f"/longva/frames/elsewhere/{name}").status_code == 404
    reply = client.get("/longva/frames/here/contact-sheet.jpg")
    # 30 thumbnails of 224 × 126 in six columns and five rows, two pixels around each and its time below.
    with Image.open(io.BytesIO(reply.content)) as picture:
        assert picture.size == (6 * 228, 5 * 148)
    assert 'filename="_b_my & clip-contact-sheet.jpg"' in reply.headers["content-disposition"]


def test_one_frame_at_the_size_of_the_player(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=3, size=(1600, 900))
    source = VideoSource(probe(clip), plan_frames(probe(clip), 3), LocalEngine(load("tiny"), Settings()).processor)
    routes = download_routes(lambda token: (Sheets(3), source) if token == "here" else None, Quotas(Settings()))
    client = TestClient(Starlette(routes=routes))
    index = source.plan.indices[1]
    reply = client.get(f"/longva/frames/here/frame/{index}.jpg")
    assert reply.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(reply.content)) as found, av.open(str(clip)) as container:
        frame = list(container.decode(video=0))[index].to_image().resize((960, 540))
        assert found.size == frame.size
        assert np.abs(np.asarray(found, int) - np.asarray(frame, int)).mean() < 3
    for path in (f"here/frame/{index + 1}.jpg", f"elsewhere/frame/{index}.jpg", "here/frame/-1.jpg"):
        assert client.get(f"/longva/frames/{path}").status_code == 404
    clip.unlink()
    assert client.get(f"/longva/frames/here/frame/{index}.jpg").status_code == 204


def test_downloads_and_enlarged_frames_have_quotas(clip: Path) -> None:
    source = VideoSource(probe(clip), plan_frames(probe(clip), 3), LocalEngine(load("tiny"), Settings()).processor)
    quotas = Quotas(Settings())
    routes = download_routes(lambda _: (Sheets(3), source), quotas)
    client = TestClient(Starlette(routes=routes, middleware=[limit_requests(quotas.requests)]))
    mine = client_of({"client": ("testclient", 50000)})
    for quota, name, refused, accepted in (
        (quotas.downloads, "plan.json", 429, 200),
        (quotas.frames, "frame/0.jpg", 204, 200),
    ):
        with quota.hold(mine, quota.maximum_per_client):
            assert client.get(f"/longva/frames/token/{name}").status_code == refused
        assert client.get(f"/longva/frames/token/{name}").status_code == accepted
        assert (quota.used, quota.num_refused) == (0, 1)


def test_downloads_need_finished_frames(clip: Path) -> None:
    settings = Settings()
    engine = LocalEngine(load("tiny"), settings)
    pages = Pages(engine)
    sheets = pages.get("one").select(Selection(clip, 4), engine, settings)
    assert sheets is not None
    assert pages.find_video(sheets.token) is None
    sheets.finish()
    assert pages.find_video(sheets.token) == (sheets, pages.get("one").source)
