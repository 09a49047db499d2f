"""A quiet server frees what its visitors left."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from longva_demo.chat import Engine, VideoSource
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.ui import upkeep
from longva_demo.ui.layout import build_app
from longva_demo.ui.pages import IDLE_SECONDS, Pages
from longva_demo.ui.views import Look
from tests.ui.conftest import MODEL


def test_idle_pages_are_closed_though_nobody_calls(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, tasks = 0.0, []

    def take(*given: Callable[[], None]) -> None:
        tasks.extend(given)

    engine, settings = Engine(load(MODEL), Settings()), Settings()
    pages = Pages(engine, lambda: now)
    monkeypatch.setattr("longva_demo.ui.layout.Pages", lambda _: pages)
    monkeypatch.setattr("longva_demo.ui.layout.keep_up", take)
    build_app(engine, settings)
    page = pages.get("one")
    page.look_at(Look(clip, 4), engine, settings)
    list(page.session.ask("What is there?"))
    source = page.source
    assert isinstance(source, VideoSource)
    for now, left in ((IDLE_SECONDS - 1, 1), (IDLE_SECONDS + 1, 0)):  # noqa: B007 (the pages' clock)
        for task in tasks:
            task()
        assert (len(pages), len(engine.prefixes), source._folder.exists()) == (left, left, bool(left))


def test_tasks_run_again_and_a_failure_ends_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep, "SECONDS_BETWEEN", 0.0)
    done, rounds = threading.Event(), []

    def fail() -> None:
        rounds.append("failed")
        raise OSError("no such disk")

    def count() -> None:
        rounds.append("done")
        if rounds.count("done") >= 2:
            done.set()

    ending = upkeep.keep_up(fail, count)
    assert done.wait(60)
    ending.set()
    assert rounds[:4] == ["failed", "done"] * 2
    assert "no such disk" in caplog.text
