"""The load test's tab without a browser behaves like a page."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.load import figures_of
from bench.tab import Rejected, Tab
from tests.support.clips import write_clip
from tests.support.server import serving

pytestmark = pytest.mark.slow


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[str]:
    """A server without other open pages."""
    with serving(tmp_path / "server.log", "--model", "tiny") as address:
        yield address


def wait_until_closed(address: str) -> None:
    while figures_of(address)["pages"]:
        time.sleep(0.1)


def test_a_tab_selects_asks_clears_and_closes(alone: str, clip: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other.mp4", seconds=3)
    with closing(Tab(alone, budget=4, timeout=60)) as tab:
        file = tab.upload(clip)
        with pytest.raises(Rejected, match="the question is empty"):
            tab.ask("", file)
        tab.select(file)
        entries = [tab.ask("What moves?", file) for _ in range(2)]
        tab.attribute()
        stats = [{message["key"] for message in entry["stats"]} for entry in entries]
        assert "stats.read" in stats[0]
        assert "stats.reused" in stats[1]
        tab.select(tab.upload(other))
        tab.select(file)
        tab.clear()
        assert tab.ask("What moves?", file)["answer"] == entries[0]["answer"]
        assert figures_of(alone)["pages"] == 1
    wait_until_closed(alone)
    tab = Tab(alone, budget=4, timeout=60)
    with closing(tab):  # closing twice is allowed
        tab.ask_and_close("What moves?", tab.upload(clip))
    wait_until_closed(alone)
