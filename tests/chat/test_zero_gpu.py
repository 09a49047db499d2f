"""ZeroGPU with the real package `spaces`, on a local stand-in for the service that lends GPUs."""

import doctest
import json
import logging
import pickle
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import spaces
from spaces.zero import config as spaces_config
from spaces.zero.client import get_duration_seconds

from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource, borrowed_gpu
from longva_demo.chat.borrowed_gpu import GpuQuestion, GpuRequest, answer_one, make_gpu_answerer, seconds_needed
from longva_demo.chat.compare import Row, compare
from longva_demo.chat.lines import ChatLines
from longva_demo.chat.zero_gpu import (
    MAX_SECONDS,
    Quota,
    errors_of_zero_gpu,
    quota_factor,
    quota_of,
    warn_about_torch,
)
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.page.components.meter import meter_facts
from longva_demo.settings import Settings
from longva_demo.timed_text import Line
from longva_demo.video import plan_frames, probe

ROOT = Path(__file__).parents[2]
SAMPLING = Sampling(max_new_tokens=24)
QUESTIONS = ("What colour is the circle?", "Which way does it move?")


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny", device="cpu"), Settings(), keep_features=True)


def open_chat(engine: LocalEngine, clip: Path, num_frames: int = 8) -> ChatSession:
    session = ChatSession(engine)
    session.set_source(VideoSource(info := probe(clip), plan_frames(info, num_frames), engine.processor))
    return session


@pytest.fixture
def half_a_card(monkeypatch: pytest.MonkeyPatch) -> float:
    """The card of which half costs 1.5 times the seconds, as `spaces` describes it."""
    [card] = [one for one in json.loads(Path(spaces_config.__file__).with_name("configs.json").read_text())
              if one["duration_factor"] != 1.0]  # fmt: skip
    monkeypatch.setattr(spaces_config, "get_config", lambda: card)
    return float(card["duration_factor"])


def test_off_a_space_the_decorator_changes_nothing(engine: LocalEngine, clip: Path) -> None:
    here, there = open_chat(engine, clip), open_chat(engine, clip)
    ask = make_gpu_answerer(engine, spaces.GPU)
    for question in QUESTIONS:
        list(here.ask(question, SAMPLING))
        list(ask(there, question, SAMPLING, False, threading.Event()))
    assert [turn.answer for turn in there.turns] == [turn.answer for turn in here.turns]


def request_of(engine: LocalEngine, clip: Path, *budgets: int, max_new_tokens: int = 256) -> GpuRequest:
    sampling = Sampling(max_new_tokens=max_new_tokens)
    questions = [GpuQuestion(open_chat(engine, clip, budget).source, [], "?", sampling) for budget in budgets]
    return questions, ""


def test_half_a_card_costs_more_seconds(half_a_card: float, engine: LocalEngine, clip: Path) -> None:
    """We ask for seconds of half an H200; `spaces` multiplies, once."""
    assert quota_factor() == half_a_card == 1.5
    asked = seconds_needed(request_of(engine, clip, 50))
    assert asked == pytest.approx(15 + 4 + 12.8)
    quota = get_duration_seconds(timedelta(seconds=asked), None)
    assert quota == pytest.approx(1.5 * asked, abs=1.5)


@pytest.mark.parametrize("max_new_tokens", [1, 1000, 4096])
def test_no_borrowing_costs_more_than_the_maximum(
    max_new_tokens: int, half_a_card: float, engine: LocalEngine, clip: Path
) -> None:
    request = request_of(engine, clip, 60, 60, max_new_tokens=max_new_tokens)
    assert half_a_card * seconds_needed(request) <= MAX_SECONDS + 1e-6


def test_without_a_factor(engine: LocalEngine, clip: Path) -> None:
    assert quota_factor() == 1.0
    assert seconds_needed(([GpuQuestion(None, [], "?", SAMPLING)], "")) == pytest.approx(15 + 1.2)
    assert seconds_needed(request_of(engine, clip, 50)) == pytest.approx(15 + 4 + 12.8)
    assert seconds_needed(request_of(engine, clip, 50, 10)) == pytest.approx(15 + 4 + 12.8 + 0.8 + 12.8)


# Several questions in one borrowing


def compare_on_gpu(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch, stopping: threading.Event | None = None
) -> tuple[list[Row], list[int]]:
    """Compare three budgets as on a Space. Returns the rows, and the number of questions of each borrowing."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    requests: list[int] = []
    stop = stopping or threading.Event()

    def lend(duration: Any) -> Any:
        def decorate(function: Any) -> Any:
            def in_other_process(request: GpuRequest) -> Iterator[Any]:
                requests.append(len(request[0]))
                assert duration(request) <= MAX_SECONDS
                for event in function(pickle.loads(pickle.dumps(request))):
                    yield pickle.loads(pickle.dumps(event))

            return in_other_process

        return decorate

    source = open_chat(engine, clip).source
    assert isinstance(source, VideoSource)
    rows = []
    ask = make_gpu_answerer(engine, lend)
    for event in compare(engine, source, (4, 8, 16), QUESTIONS[0], SAMPLING, ask, stop):
        if isinstance(event, Row):
            rows.append(event)
            if stopping is not None:
                stop.set()
    assert len(borrowed_gpu._shared) == 0
    return rows, requests


def test_compared_budgets_share_a_borrowing(engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, requests = compare_on_gpu(engine, clip, monkeypatch)
    assert requests == [3]
    assert [row.num_frames for row in rows] == [4, 8, 16]
    for row in rows:
        alone = open_chat(engine, clip, row.num_frames)
        list(alone.ask(QUESTIONS[0], SAMPLING))
        assert row.answer == alone.turns[-1].answer
        assert row.num_tokens == alone.turns[-1].stats.num_tokens


def test_lines_go_to_the_borrowed_gpu(clip: Path, reference: Path) -> None:
    """The index stays here; what is chosen is what a chat in this process would choose."""
    engine = LocalEngine(load(str(reference / "a" / "checkpoint"), device="cpu", dtype="float32"), Settings())
    here = open_chat(engine, clip)
    here.lines = ChatLines([Line(1.0, 2.0, "a red star", "speech")])
    assert here.lines.index.best("star") == [0]
    list(here.ask(QUESTIONS[0], SAMPLING))
    asked = pickle.loads(pickle.dumps(GpuQuestion(here.source, [], QUESTIONS[0], SAMPLING, here.lines)))
    assert "index" not in vars(asked.lines)
    *_, end = answer_one(engine, asked, Path("no such file"))
    assert end.turn.lines == here.turns[0].lines == tuple(here.lines.lines)
    assert end.turn.given_ids == here.turns[0].given_ids


def test_budgets_that_do_not_fit_one_borrowing_are_split(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borrowed_gpu, "MAX_SECONDS", 15 + 2 * 1.2 + 12 * 0.08 + 0.1)
    rows, requests = compare_on_gpu(engine, clip, monkeypatch)
    assert requests == [2, 1]
    assert [row.num_frames for row in rows] == [4, 8, 16]


def test_stop_ends_a_shared_borrowing(engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, requests = compare_on_gpu(engine, clip, monkeypatch, threading.Event())
    assert (len(rows), requests) == (1, [3])


def test_the_longest_questions_are_asked_alone() -> None:
    assert doctest.testmod(borrowed_gpu) == (0, 1)
    assert borrowed_gpu.group_by_borrowing([300.0, 1.0, 300.0]) == [[0], [1], [2]]


def test_the_meter_names_the_quota(
    half_a_card: float, engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quota_of(256) is None
    assert meter_facts(engine.meter(1), None, engine.prefill_times)["quota"] is None
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    quota = quota_of(24)
    assert quota == Quota(pytest.approx(1.5 * 16.2), pytest.approx(1.5 * 0.08), MAX_SECONDS)
    facts = meter_facts(engine.meter(1), None, engine.prefill_times, quota)["quota"]
    source = open_chat(engine, clip).source
    assert source is not None
    shown = min(facts["max_seconds"], facts["start_seconds"] + source.num_frames * facts["frame_seconds"])
    assert shown == pytest.approx(half_a_card * seconds_needed(([GpuQuestion(source, [], "?", SAMPLING)], "")))


@pytest.mark.parametrize(
    ("version", "is_known"),
    [
        ("2.7.1", False),
        ("2.8.0", True),
        ("2.9.1+cu128", True),
        ("2.11.0", True),
        ("2.12.0", False),
        ("2.13.0+cpu", False),
    ],
)
def test_versions_of_torch(version: str, is_known: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_about_torch(version)
    expected = (
        f"ZeroGPU is known to work with PyTorch 2.8 to 2.11, and this is {version}; "
        "put torch==2.11.0 into requirements.txt"
    )
    assert caplog.messages == ([] if is_known else [expected])


def test_an_error_of_ours_or_of_another_kind_is_passed_on() -> None:
    for error in (DemoError("a", "b"), ValueError("c")):
        with pytest.raises(type(error)) as caught, errors_of_zero_gpu():
            raise error
        assert caught.value is error
