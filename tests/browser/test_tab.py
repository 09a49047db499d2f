"""The tab without a browser, which the benchmark under load uses, is a page to the server."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.load import figures_of
from bench.tab import Refused, Tab
from tests.support.clips import write_clip
from tests.support.server import serving


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[str]:
    """A server whose open pages can be counted: nobody else has one there."""
    with serving(tmp_path / "server.log", "--model", "tiny") as address:
        yield address


def wait_until_closed(address: str) -> None:
    while figures_of(address)["pages"]:
        time.sleep(0.1)


def test_a_tab_looks_asks_again_forgets_and_closes(alone: str, clip: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other.mp4", seconds=3)
    with closing(Tab(alone, budget=4, timeout=60)) as tab:
        file = tab.upload(clip)
        with pytest.raises(Refused, match="there is no question yet"):
            tab.ask("", file)
        tab.look(file)
        entries = [tab.ask("What moves?", file) for _ in range(2)]
        tab.weigh()
        ways = [{line["key"] for line in entry["stats"]} for entry in entries]
        assert "stats.read" in ways[0]
        assert "stats.reused" in ways[1]
        tab.look(tab.upload(other))
        tab.look(file)
        tab.forget()
        assert tab.ask("What moves?", file)["answer"] == entries[0]["answer"]
        assert figures_of(alone)["pages"] == 1
    wait_until_closed(alone)
    tab = Tab(alone, budget=4, timeout=60)
    with closing(tab):  # once more makes no difference
        tab.ask_and_close("What moves?", tab.upload(clip))
    wait_until_closed(alone)
