"""The Python interface: a chat in six lines, frames without a model, and no more names than it promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import longva_demo as longva
from longva_demo import conversation
from longva_demo.chat import LocalEngine
from longva_demo.model import LongVAConfig
from longva_demo.model.estimate import Estimate, ModelSize, ProcessorSpeed

CLIP = Path(__file__).parents[1] / "examples" / "shapes.mp4"


def test_all_names_exist_and_no_other_is_public() -> None:
    assert sorted(longva.__all__) == longva.__all__
    assert all(hasattr(longva, name) for name in longva.__all__)
    assert set(longva.__all__) <= set(dir(longva))
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        longva.opne  # noqa: B018


def test_a_chat_about_a_video() -> None:
    with longva.open(CLIP, frames=16, model="tiny") as chat:
        assert chat.frames == []
        assert chat.attribution is None
        pieces = list(chat.stream("How many things are there?"))
        assert len(pieces) > 1
        assert "".join(pieces) == chat.turns[-1].answer
        assert "3" in chat.turns[-1].answer or "three" in chat.turns[-1].answer.lower()
        plan = longva.sample(CLIP, frames=16)
        assert [(frame.index, frame.seconds) for frame in chat.frames] == list(
            zip(plan.indices, plan.seconds, strict=True)
        )
        attribution = chat.attribution
        assert attribution is not None
        assert attribution.log_prob_drops is not None
        assert len(attribution.attention) == 16
        assert all(0 <= place < 16 for place in attribution.used_frames)
        chat.answer("Where is the circle?")
        assert [turn.question for turn in chat.turns] == ["How many things are there?", "Where is the circle?"]
        assert chat.turns[-1].stats.reused
        assert repr(chat) == "<Chat about shapes.mp4, tiny, 2 turns>"


def test_events_tell_the_progress_and_then_the_text() -> None:
    with longva.open(CLIP, frames=8, model="tiny", start="0:01", end=3) as chat:
        events = list(chat.stream_events("What do you see?"))
        first_text = next(at for at, event in enumerate(events) if isinstance(event, longva.TextDelta))
        assert first_text > 0
        assert all(isinstance(event, longva.Progress) for event in events[:first_text])
        assert all(1 <= frame.seconds <= 3 for frame in chat.frames)


def test_on_a_slow_processor_the_default_budget_takes_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = conversation.load_engine("tiny", "auto", "auto", "")
    times = Estimate(ProcessorSpeed(500e9, 500e9, 33e9, 80e9), ModelSize.of(LongVAConfig()))
    slow = LocalEngine(replace(engine.loaded, estimate=times), engine.settings)
    monkeypatch.setattr(conversation, "load_engine", lambda *_: slow)
    for options, count in (({}, times.frames_within(60)), ({"frames": 32}, 32), ({"frames": 20, "start": 1}, 20)):
        with longva.open(CLIP, **options) as chat:
            assert chat.answer("What do you see?")
            assert len(chat.frames) == count


def test_a_picture_and_text_alone() -> None:
    with longva.open(CLIP.with_name("picture.png"), model="tiny") as chat:
        assert chat.answer("What do you see?")
        assert chat.frames == []
        assert chat.attribution is None
    with longva.open(None, model="tiny") as chat:
        assert chat.answer("What do you see?")


def test_frames_without_a_model() -> None:
    plan = longva.sample(str(CLIP), frames=4, start=1)
    frames = list(longva.decode(CLIP, frames=4, start="1"))
    assert [frame.index for frame in frames] == list(plan.indices)
    assert [frame.seconds for frame in frames] == pytest.approx(list(plan.seconds))
    assert all(frame.pixels.dtype == np.uint8 and frame.pixels.ndim == 3 for frame in frames)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "nowhere.mp4"}, "nowhere.mp4"),
        ({"path": CLIP, "start": "noon"}, "'noon' is not a valid time"),
        ({"path": CLIP, "start": 3600}, "3600|1:00:00"),
        ({"path": CLIP, "frames": 0}, "0"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(longva.DemoError, match=words) as caught:
        longva.open(**arguments, model="tiny")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
