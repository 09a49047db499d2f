"""The same conversations with the model here and with an engine elsewhere: equal token ids."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from longva_demo.chat import (
    ChatSession,
    Engine,
    ImageSource,
    LocalEngine,
    PicturesSource,
    Sampling,
    Source,
    TextDelta,
    VideoSource,
)
from longva_demo.chat.remote import RemoteEngine
from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from longva_demo.video import plan_frames, probe
from tests.support.fake_replica import Replica

GREEDY = Sampling(max_new_tokens=48)
SPECIAL = "<|im_end|>\n<|im_start|>assistant\n <|endoftext|> <image> What do you see?"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "blue"]},
            "digits": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 3},
        },
        "required": ["colour", "digits"],
        "additionalProperties": False,
    }
)
Script = Callable[[ChatSession], None]


def ask(session: ChatSession, *questions: str, sampling: Sampling = GREEDY) -> None:
    for question in questions:
        read(session.ask(question, sampling))


def read(events: Iterator[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def say(*questions: str, sampling: Sampling = GREEDY) -> Script:
    return lambda session: ask(session, *questions, sampling=sampling)


def retry(session: ChatSession) -> None:
    ask(session, "What do you see?", "Which digit is shown?")
    read(session.retry(GREEDY))


def edit(session: ChatSession) -> None:
    ask(session, "What do you see?", "Is there a star?")
    read(session.edit("Is there a red circle?", GREEDY))
    ask(session, "What colour is it?")


def undo(session: ChatSession) -> None:
    ask(session, "What do you see?", "Which digit is shown?")
    session.undo()
    ask(session, "How many shapes are there?")


def stop(session: ChatSession) -> None:
    """Three tokens of an answer are kept, and the next question sees them."""
    for number, _ in enumerate(event for event in session.ask("What do you see?", GREEDY) if is_text(event)):
        if number == 1:
            session.stop()
    ask(session, "Which digit is shown?")


def is_text(event: object) -> bool:
    return isinstance(event, TextDelta)


def clear(session: ChatSession) -> None:
    ask(session, "What do you see?")
    session.clear()
    ask(session, "Which digit is shown?")


def resume(session: ChatSession) -> None:
    ask(session, "What do you see?", "Which digit is shown?")
    session.resume(session.source, session.turns[:1])
    ask(session, "Is there a red circle?")


def without_source(session: ChatSession) -> None:
    """From a video to text alone, and back."""
    source = session.source
    ask(session, "What do you see?")
    session.set_source(None)
    ask(session, "What do you see?")
    session.set_source(source)
    ask(session, "Which digit is shown?")


# The files, the number of frames, and what is said about them.
CONVERSATIONS: dict[str, tuple[str | None, int, Script]] = {
    "text alone": (None, 0, say("What do you see?", "Why?")),
    "one frame": ("shapes.mp4", 1, say("What do you see?", "Which colour is it?")),
    "one item": ("motion.mp4", 16, say("What happens?", "What moves?")),
    "an item and a frame": ("motion.mp4", 17, say("What happens?")),
    "one step": ("needle.mp4", 64, say("Which digit is shown?")),
    "two steps": ("needle.mp4", 100, say("Which digit is shown?", "What do you see first?")),
    "two hundred frames": ("needle.mp4", 200, say("Which digit is shown?", "Is there a star?")),
    "a thousand frames": ("long.mp4", 1000, say("Which digit is shown?", "What do you see last?")),
    "a picture": ("picture.png", 0, say("What do you see?", "Which colour is it?")),
    "a wide picture": ("wide.png", 0, say("What do you see?")),
    "two pictures": ("wide.png picture.png", 0, say("What do you see?", "Which colour is it?")),
    "special tokens": ("shapes.mp4", 4, say(SPECIAL, SPECIAL)),
    "other scripts": ("shapes.mp4", 4, say("Qu’est-ce que c’est ? 😀", "这是什么？")),
    "one token": ("shapes.mp4", 8, say("What do you see?", sampling=replace(GREEDY, max_new_tokens=1))),
    "a long question": ("shapes.mp4", 8, say("What do you see? " * 200)),
    "stop": ("shapes.mp4", 8, stop),
    "retry": ("shapes.mp4", 8, retry),
    "edit": ("shapes.mp4", 8, edit),
    "undo": ("shapes.mp4", 8, undo),
    "clear": ("shapes.mp4", 8, clear),
    "resume": ("shapes.mp4", 8, resume),
    "another source": ("shapes.mp4", 8, without_source),
}


def open_source(engine: Engine, name: str | None, num_frames: int) -> Source | None:
    if name is None:
        return None
    if not num_frames:
        images = [ImageSource(EXAMPLES_FOLDER / one, engine.processor) for one in name.split()]
        return PicturesSource(images) if len(images) > 1 else images[0]
    info = probe(EXAMPLES_FOLDER / name)
    return VideoSource(info, plan_frames(info, num_frames), engine.processor)


def run(engine: Engine, name: str | None, num_frames: int, script: Script) -> list[tuple[object, ...]]:
    with closing(ChatSession(engine)) as session:
        session.set_source(open_source(engine, name, num_frames))
        script(session)
        return [(turn.ids, turn.answer, turn.stats.num_tokens, turn.stats.stopped) for turn in session.turns]


SLOW = ("two hundred frames", "a thousand frames")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CONVERSATIONS]
)
def test_same_tokens(name: str, local: LocalEngine, remote: RemoteEngine, replica: Replica) -> None:
    there = run(remote, *CONVERSATIONS[name])
    assert replica.requests
    assert there == run(local, *CONVERSATIONS[name])
    assert all(len(ids) > 3 for ids, *_ in there)


def test_the_same_tokens_of_a_schema(local: LocalEngine, remote: RemoteEngine, replica: Replica) -> None:
    """The stand-in has the grammar of this process. vLLM's own may put spaces elsewhere."""
    conversation = ("shapes.mp4", 8, say("What do you see?", sampling=replace(GREEDY, json_schema=SCHEMA)))
    there = run(remote, *conversation)
    assert replica.requests[-1]["sampling_params"]["structured_outputs"] == {"json": SCHEMA}
    assert there == run(local, *conversation)


def test_probabilities_are_the_same(local: LocalEngine, remote: RemoteEngine, replica: Replica) -> None:  # noqa: ARG001
    def log_probability(engine: Engine) -> float:
        with closing(ChatSession(engine)) as session:
            session.set_source(open_source(engine, "needle.mp4", 100))
            ask(session, "Which digit is shown?")
            return session.turns[-1].stats.log_probability

    assert log_probability(remote) == pytest.approx(log_probability(local), abs=1e-4)


def test_a_large_context_is_refused_in_both(local: LocalEngine, remote: RemoteEngine) -> None:
    assert remote.meter(10).num_tokens == local.meter(10).num_tokens
    assert remote.model.context_length == local.model.context_length
    most = remote.meter(1).largest_budget
    assert remote.meter(most).fits
    assert not remote.meter(most + 1).fits
