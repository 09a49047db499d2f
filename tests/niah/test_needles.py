"""Needles and the frames they are hidden among: drawn, from a folder, from parquet files, from a video."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import EpsImagePlugin, Image

from longva_demo.errors import DemoError
from longva_demo.niah import (
    Asked,
    Needle,
    drawn_frames,
    drawn_needles,
    load_needles,
    video_frames,
)
from longva_demo.niah.haystack import pad_to_square
from longva_demo.tiny.scenes import COLOUR_NAMES
from longva_demo.video import DecodeLimits
from tests.video.clips import read_number, write_clip


def test_drawn_needles_and_frames_are_deterministic() -> None:
    one, two = drawn_needles(), drawn_needles()
    assert len(one) == 20
    assert len({needle.name for needle in one}) == 20
    assert [needle.asked for needle in one] == [needle.asked for needle in two]
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(one, two, strict=True))
    first, again, other = (np.concatenate(list(drawn_frames(9, seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    longer = np.concatenate(list(drawn_frames(12, 1)))
    assert np.abs(longer[:9].astype(int) - first).mean() < 3  # the same scenes, compressed in another clip


def test_frames_are_padded_not_cropped() -> None:
    wide = np.full((1, 2, 6, 3), 200, np.uint8)
    square = pad_to_square(wide, [1, 2, 3])
    assert square.shape == (1, 6, 6, 3)
    assert (square[0, 2:4] == 200).all()
    assert (square[0, [0, 1, 4, 5]] == [1, 2, 3]).all()


def test_a_video_as_haystack(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "film.mp4", 100, fps=10)
    limits = DecodeLimits()
    each_second = np.concatenate(list(video_frames(path, 8, "second", limits)))
    assert [read_number(picture) for picture in each_second] == list(range(0, 80, 10))
    evenly = np.concatenate(list(video_frames(path, 4, "budget", limits)))
    assert [read_number(picture) for picture in evenly] == [0, 33, 66, 99]
    with pytest.raises(DemoError, match="10 frames at one per second"):
        video_frames(path, 11, "second", limits)
    with pytest.raises(DemoError, match="spacing"):
        video_frames(path, 4, "hour", limits)


def test_needles_from_a_folder_and_from_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "published"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (30, 20), "red").save(folder / "images" / "bear.png")
    rows = [{"path": "bear.png", "prompt": "\nFind the bear. What colour is it?", "answer": "Red"}]
    (folder / "dataset.json").write_text(json.dumps(rows))
    [bear] = load_needles(str(folder))
    assert (bear.name, bear.asked[0].answer, bear.picture.size) == ("bear", "Red", (30, 20))

    data = (folder / "images" / "bear.png").read_bytes()
    named = {"question": ["What?"], "answer": ["Red"]}
    table = pyarrow.table({"image": [{"bytes": data, "path": "bear.png"}], **named})
    (tmp_path / "hub" / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(table, tmp_path / "hub" / "data" / "test-00000.parquet")
    [same] = load_needles(str(tmp_path / "hub"))
    assert (same.name, same.asked) == ("bear", (Asked("What?", "Red"),))
    assert np.array_equal(same.picture, bear.picture)

    bear.picture.save(tmp_path / "bear.eps")
    monkeypatch.delattr(EpsImagePlugin, "Ghostscript")  # PostScript files are programs and must not run
    table = pyarrow.table({"image": [{"bytes": (tmp_path / "bear.eps").read_bytes()}], **named})
    pyarrow.parquet.write_table(table, tmp_path / "hub" / "data" / "test-00000.parquet")
    with pytest.raises(DemoError, match=r"row 1 .* has no readable picture"):
        load_needles(str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no dataset.json"),
        ("[", "cannot read"),
        ("[]", "contains no needles"),
        ('[{"path": "a.png", "prompt": "What?"}]', "entry 1 .* has no answer"),
        ('[{"path": "a.png", "prompt": "What?", "answer": "B"}]', "does not exist"),
        ("5", "has no path"),
    ],
)
def test_unusable_needles(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DemoError, match=message):
        load_needles(str(tmp_path))


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_arguments: object, **_options: object) -> str:
        raise OSError

    monkeypatch.setattr("longva_demo.niah.needles.snapshot_download", unreachable)
    with pytest.raises(DemoError, match="cannot download the needles"):
        load_needles("lmms-lab/v_niah_needles")
    with pytest.raises(DemoError, match="there is no folder"):
        load_needles("./nowhere")


def test_a_needle_is_named_by_its_appearance() -> None:
    needle: Needle = drawn_needles(1)[0]
    assert needle.name.split()[0] in COLOUR_NAMES
    assert needle.name in needle.asked[0].question
    assert needle.asked[0].answer[-2].isdigit()
