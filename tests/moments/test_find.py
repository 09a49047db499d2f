"""Searches with the built-in model: right ranges, shared features, partial results, bounded steps."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import longva_demo as longva
from longva_demo.chat import ChatSession, LocalEngine, VideoSource, steps
from longva_demo.chat.windows import WindowPrompt, first_token_log_probs
from longva_demo.errors import DemoError
from longva_demo.moments import Moments, Search, find_moments
from longva_demo.moments.question import YesNoQuestion, phrase
from tests.chat.test_steps import watched
from tests.moments.conftest import CIRCLE, STAR, make_source

BUDGET = 40


def search(engine: LocalEngine, source: VideoSource, query: str, **options: float) -> Moments:
    *_, last = find_moments(engine, source, Search(query, **options), lambda: False)  # type: ignore[arg-type]
    assert last.progress is None
    return last


@pytest.fixture
def source(tiny: LocalEngine, events_clip: Path) -> Iterator[VideoSource]:
    source = make_source(tiny, events_clip, BUDGET)
    yield source
    source.close()


@pytest.mark.parametrize(("query", "start", "end"), [STAR, CIRCLE])
def test_a_thing_is_found_where_it_is_shown(
    tiny: LocalEngine, source: VideoSource, query: str, start: float, end: float
) -> None:
    found = search(tiny, source, query)
    [one] = found.ranges
    assert one.start == pytest.approx(start, abs=0.5)
    assert one.end == pytest.approx(end, abs=0.5)
    assert one.start <= one.best < one.end
    assert one.score > 0.9
    assert all(left.index < right.index for left, right in pairwise(found.frames))
    assert all(0 <= frame.score <= 1 for frame in found.frames)
    assert BUDGET < len(found.frames) <= 2 * BUDGET


def test_a_finer_precision_finds_the_very_frame(tiny: LocalEngine, source: VideoSource) -> None:
    [one] = search(tiny, source, "a red star", precision_seconds=0.1).ranges
    assert (one.start, one.end) == (pytest.approx(12.3), pytest.approx(18.1))


def test_nothing_is_found_where_there_is_nothing(tiny: LocalEngine, source: VideoSource) -> None:
    found = search(tiny, source, "a green triangle")
    assert found.ranges == ()
    assert not found.is_unsure
    assert len(found.frames) == BUDGET, "there are no edges to spend a budget on"


def test_what_is_always_there_is_one_range(tiny: LocalEngine, source: VideoSource) -> None:
    [one] = search(tiny, source, "a blue square").ranges
    assert (one.start, one.end) == (0.0, pytest.approx(40.0))


def test_only_the_range_is_searched(tiny: LocalEngine, events_clip: Path) -> None:
    source = make_source(tiny, events_clip, 20, start_seconds=15.0, end_seconds=30.0)
    [star] = search(tiny, source, "a red star").ranges
    [circle] = search(tiny, source, "a yellow circle").ranges
    assert (star.start, star.end) == (15.0, pytest.approx(18.1, abs=0.5))
    assert (circle.start, circle.end) == (pytest.approx(27.0, abs=0.5), 30.0)
    source.close()


def test_a_question_is_asked_as_it_is(tiny: LocalEngine, source: VideoSource) -> None:
    [one] = search(tiny, source, "Is there a circle?").ranges
    assert (one.start, one.end) == (pytest.approx(27.0, abs=0.5), pytest.approx(31.4, abs=0.5))


def test_a_model_that_declines_finds_nothing_and_says_so(tiny: LocalEngine, source: VideoSource) -> None:
    found = search(tiny, source, "When does the star appear?")
    assert found.ranges == ()
    assert found.is_unsure
    assert any("neither yes nor no" in note for note in found.notes)


def test_a_window_shows_what_moves(tiny: LocalEngine) -> None:
    """One frame cannot show it."""
    source = make_source(tiny, Path(__file__).parents[2] / "examples" / "motion.mp4", 16)
    [one] = search(tiny, source, "Does the circle move?", window=8).ranges
    assert one.end - one.start > 3
    assert search(tiny, source, "Does the cross move?", window=8).ranges == ()
    source.close()


def test_features_are_shared_with_the_chat(tiny: LocalEngine, source: VideoSource) -> None:
    encoded: list[int] = []
    tower = tiny.loaded.model.model.vision_tower
    handle = tower.register_forward_pre_hook(lambda _module, args: encoded.append(len(args[0])))
    session = ChatSession(tiny, is_shared=False)
    session.set_source(source)
    list(session.ask("What do you see?"))
    assert sum(encoded) == BUDGET
    assert search(tiny, source, "a green triangle").ranges == ()
    assert sum(encoded) == BUDGET, "the frames were encoded again"
    handle.remove()
    session.close()


def test_the_chat_uses_the_features_of_a_search(tiny: LocalEngine, source: VideoSource) -> None:
    search(tiny, source, "a green triangle")
    encoded: list[int] = []
    handle = tiny.loaded.model.model.vision_tower.register_forward_pre_hook(
        lambda _m, args: encoded.append(len(args[0]))
    )
    session = ChatSession(tiny, is_shared=False)
    session.set_source(source)
    list(session.ask("What do you see?"))
    assert encoded == []
    handle.remove()
    session.close()


def test_results_grow_and_stay_after_a_stop(tiny: LocalEngine, source: VideoSource) -> None:
    seen: list[Moments] = []
    for found in find_moments(tiny, source, Search("a red star"), lambda: len(seen) > 0 and len(seen[-1].frames) >= 16):
        seen.append(found)
    assert seen[-1].progress is not None, "it is not complete"
    assert 16 <= len(seen[-1].frames) < BUDGET
    assert len(seen[-1].frames) >= len(seen[0].frames)


def test_every_step_is_bounded(tiny: LocalEngine, source: VideoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    search(tiny, source, "a green triangle")
    monkeypatch.setattr(steps, "MAX_STEP_TOKENS", 200)
    with watched(tiny) as passes:
        search(tiny, source, "a red star")
    assert len(passes) > BUDGET / 5
    assert max(passes) <= 200


def test_a_window_alone_is_what_the_engine_answers(tiny: LocalEngine, source: VideoSource) -> None:
    """The batch gives the probabilities of one prompt at a time through the KV cache."""
    question = YesNoQuestion.about("a red star", tiny)
    tokens = (*question.yes, *question.no)
    pixels = torch.cat([tiny.encode_frames(one) for one in source.pixels(16, lambda: False) if one is not None])
    batch = torch.cat(list(tiny.window_log_probs(pixels[:, None], question.ids, tokens)))
    for position in (0, 14, 29):
        cache = tiny.new_cache(100)
        tiny.prefill_text(tiny.template.header, cache)
        tiny.prefill_frames([pixels[position : position + 1]], cache)
        alone = tiny.prefill_text(question.ids, cache).log_softmax(-1)[list(tokens)]
        torch.testing.assert_close(batch[position], alone, atol=1e-3, rtol=1e-3)
    prompt = WindowPrompt(tiny.template.header, question.ids, tokens)
    assert prompt.num_tokens(pixels[:, None]) == len(tiny.template.header) + 9 + len(question.ids)
    with torch.inference_mode():
        once = first_token_log_probs(tiny.loaded.model, prompt, pixels[:5, None])
    torch.testing.assert_close(once, batch[:5], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"query": "  "}, "nothing to find"),
        ({"query": "?"}, "nothing to find"),
        ({"query": "\u200b \n"}, "nothing to find"),
        ({"query": "x" * 301}, "301 characters"),
        ({"query": "a star", "precision_seconds": 0.0}, "precision"),
        ({"query": "a star", "precision_seconds": float("nan")}, "precision"),
        ({"query": "a star", "window": 0}, "window"),
        ({"query": "a star", "window": 99}, "window"),
    ],
)
def test_a_bad_search_is_one_clear_line(
    tiny: LocalEngine, source: VideoSource, options: dict[str, object], words: str
) -> None:
    with pytest.raises(DemoError, match=words) as caught:
        list(find_moments(tiny, source, Search(**options), lambda: False))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_how_a_thing_becomes_a_question() -> None:
    assert phrase("  red\n star. ", is_builtin=True) == "Is there a red star?"
    assert phrase("orange heart", is_builtin=True) == "Is there an orange heart?"
    assert phrase("the word EXIT", is_builtin=True) == "Is the word EXIT there?"
    assert phrase("Is it red?", is_builtin=True) == "Is it red?"
    assert phrase("a dog", is_builtin=False).startswith("Do you see a dog?\n")


def test_a_chat_finds_moments_of_its_frames(events_clip: Path) -> None:
    with longva.open(events_clip, frames=BUDGET, model="tiny") as chat:
        [one] = chat.find("a yellow circle").ranges
        assert one.end == pytest.approx(31.4, abs=0.5)
    with longva.open(None, model="tiny") as chat, pytest.raises(DemoError, match="not about a video"):
        chat.find("a star")


def test_the_front_door(events_clip: Path) -> None:
    updates: list[Moments] = []
    found = longva.find(events_clip, "a red star", frames=BUDGET, model="tiny", on_update=updates.append)
    assert found == updates[-1]
    assert [round(found.ranges[0].start), round(found.ranges[0].end)] == [12, 18]
    stopped = longva.find(
        events_clip, "a red star", frames=BUDGET, model="tiny", on_update=lambda one: bool(one.frames)
    )
    assert 0 < len(stopped.frames) < BUDGET
    assert stopped.progress is not None
    with pytest.raises(DemoError, match=r"nowhere\.mp4"):
        longva.find("nowhere.mp4", "a star")
