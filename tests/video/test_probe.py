"""A probe: the packet index is shared by all who use the same file, small, and bounded."""

import gc
import os
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, VideoInfo, plan_frames, probe
from longva_demo.video._ffmpeg import packets
from longva_demo.video._ffmpeg.indexing import index_packets
from tests.video.clips import write_clip
from tests.video.test_worker import works


@pytest.fixture
def clip(plain_clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(plain_clip, tmp_path / "clip.mp4"))


def test_an_unchanged_file_is_probed_once(clip: Path) -> None:
    info = probe(clip)
    assert probe(str(clip)) is info
    assert probe(clip, DecodeLimits()) is info
    assert probe(clip, DecodeLimits(timeout_seconds=99)) is not info
    assert works(info)
    assert plan_frames(probe(clip), 3) == plan_frames(info, 3)


def test_a_changed_file_is_probed_again(clip: Path) -> None:
    info = probe(clip)
    os.utime(clip, (1, 1))
    assert probe(clip) is not info
    write_clip(clip, 30)
    assert (info.num_frames, probe(clip).num_frames) == (120, 30)
    clip.unlink()
    with pytest.raises(VideoError, match="does not exist"):
        probe(clip)


def test_threads_share_one_index(clip: Path) -> None:
    infos: list[VideoInfo] = []
    threads = [threading.Thread(target=lambda: infos.append(probe(clip))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(infos) == 3
    assert all(info is infos[0] for info in infos)


def test_the_last_user_frees_the_index(clip: Path) -> None:
    info, other = probe(clip), probe(clip)
    reference = weakref.ref(info)
    del info
    gc.collect()
    assert reference() is other
    del other
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(("options", "num_keys"), [({"g": "30"}, 4), ({"g": "1"}, 120)])
def test_bytes_of_the_index(options: dict[str, str], num_keys: int, tmp_path: Path) -> None:
    """Rank, packet number and time of each frame; number and two timestamps of each key frame."""
    info = probe(write_clip(tmp_path / "clip.mp4", 120, options=options | {"sc_threshold": "0"}))
    assert len(info.index["arrays"]["key_packets"]) == num_keys
    assert info.index_bytes == 120 * (4 + 4 + 8) + num_keys * (4 + 8 + 8)
    assert np.array_equal(np.sort(info.index["arrays"]["shown"]), np.arange(120))


def test_too_many_frames(plain_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "MAX_PACKETS", 119)
    with pytest.raises(VideoError) as caught:
        index_packets(plain_clip, DecodeLimits(), lambda: None)
    assert str(caught.value) == "plain.mp4 has more than 119 frames; cut the video"
    monkeypatch.setattr(packets, "MAX_PACKETS", 120)
    assert len(index_packets(plain_clip, DecodeLimits(), lambda: None)[3]) == 120
