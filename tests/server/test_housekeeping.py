"""A quiet server frees what its visitors left."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from longva_demo.chat import Engine, VideoSource
from longva_demo.model import load
from longva_demo.page.selection import Selection
from longva_demo.page.sessions import IDLE_SECONDS, Pages
from longva_demo.server import build_app, housekeeping
from longva_demo.settings import Settings


def test_idle_pages_are_closed_though_nobody_calls(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, tasks = 0.0, []

    def take(*given: Callable[[], None]) -> None:
        tasks.extend(given)

    engine, settings = Engine(load("tiny"), Settings()), Settings()
    pages = Pages(engine, lambda: now)
    monkeypatch.setattr("longva_demo.server.app.Pages", lambda _: pages)
    monkeypatch.setattr("longva_demo.server.app.start_housekeeping", take)
    build_app(engine, settings)
    page = pages.get("one")
    page.select(Selection(clip, 4), engine, settings)
    list(page.session.ask("What is there?"))
    source = page.source
    assert isinstance(source, VideoSource)
    for now, left in ((IDLE_SECONDS - 1, 1), (IDLE_SECONDS + 1, 0)):  # noqa: B007 (the pages' clock)
        for task in tasks:
            task()
        assert (len(pages), len(engine.prefix_cache), source._folder.exists()) == (left, left, bool(left))


def test_tasks_run_again_and_a_failure_ends_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "SECONDS_BETWEEN", 0.0)
    done, rounds = threading.Event(), []

    def fail() -> None:
        rounds.append("failed")
        raise OSError("no such disk")

    def count() -> None:
        rounds.append("done")
        if rounds.count("done") >= 2:
            done.set()

    ending = housekeeping.start_housekeeping(fail, count)
    assert done.wait(60)
    ending.set()
    assert rounds[:4] == ["failed", "done"] * 2
    assert "no such disk" in caplog.text
