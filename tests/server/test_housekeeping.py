"""An idle server frees the resources of its former visitors."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import IDLE_SECONDS, Pages
from longva_demo.server import build_app, housekeeping
from longva_demo.settings import Settings


def test_idle_pages_are_closed_on_an_idle_server(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, tasks = 0.0, []

    def collect(*given: Callable[[], None]) -> None:
        tasks.extend(given)

    engine, settings = LocalEngine(load("tiny"), Settings()), Settings()
    pages = Pages(engine, lambda: now)
    monkeypatch.setattr("longva_demo.server.app.Pages", lambda *_, **__: pages)
    monkeypatch.setattr("longva_demo.server.app.start_housekeeping", collect)
    build_app(engine, settings)
    pages.connect("one")
    page = pages.get("one")
    page.select(Selection(clip, 4), engine, settings)
    list(page.session.ask("What is there?"))
    source = page.source
    assert isinstance(source, VideoSource)
    for now, left in ((IDLE_SECONDS - 1, 1), (IDLE_SECONDS + 1, 0)):  # noqa: B007 (the pages' clock)
        for task in tasks:
            task()
        assert (len(pages), len(engine.prefix_cache), source.folder.exists()) == (left, left, bool(left))


def test_tasks_repeat_and_a_failure_stops_none_of_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "PERIOD_SECONDS", 0.0)
    done, runs = threading.Event(), []

    def fail() -> None:
        runs.append("failed")
        raise OSError("no such disk")

    def count() -> None:
        runs.append("done")
        if runs.count("done") >= 2:
            done.set()

    stop = housekeeping.start_housekeeping(fail, count)
    assert done.wait(60)
    stop.set()
    assert runs[:4] == ["failed", "done"] * 2
    assert "no such disk" in caplog.text
