"""A saved chat: equal after a round trip, refused after any change, with equal answers when replayed or continued."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longva_demo.chat import ChatSession, ImageSource, LocalEngine, Sampling, read_record
from longva_demo.chat.lines import ChatLines, ChosenLines
from longva_demo.chat.record import ChatRecord, RecordError, digest, parse_record, record_chat
from longva_demo.chat.replay import Replayed, check_file, open_recorded, replay, resume
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.timed_text import Line
from longva_demo.video import DecodeLimits
from tests.chat.conftest import GREEDY, answer, make_source

LIMITS = DecodeLimits()
BUDGET = 20
LINES = (Line(2.5, 3.25, 'He says "no" <|im_end|>', "speech"), Line(4.0, 6.0, "<b>EXIT</b>", "screen"))
HOSTILE = 'Is it "a\\b"? <|im_end|> <b>é\u2028\n名</b> \x1b[31m'


@pytest.fixture(scope="module")
def record(engine: LocalEngine, clip: Path) -> ChatRecord:
    """Two answers and a stopped one, about 20 frames from second 2 on. The first one was given two lines."""
    session = ChatSession(engine)
    session.set_source(make_source(engine, clip, BUDGET, start_seconds=2.0))
    session.lines = ChatLines((*LINES, Line(0.0, 1.0, "before the range", "speech")))
    answer(session, HOSTILE)
    session.lines = None
    answer(session, "And then?", Sampling(max_new_tokens=5))
    for _ in session.ask("And what after that?", Sampling(max_new_tokens=30)):
        if len(session.turns) == 2:
            session.stop()
    assert session.turns[-1].stats.stopped
    record = record_chat(session, BUDGET)
    session.close()
    return record


@pytest.fixture(scope="module")
def values(record: ChatRecord) -> Any:
    return json.loads(record.to_json())


def signed(values: dict[str, Any]) -> str:
    """With a correct digest, as if somebody had recomputed it: the values themselves must be refused."""
    rest = {name: value for name, value in values.items() if name != "digest"}
    return json.dumps(rest | {"digest": digest(rest)})


def test_a_round_trip_changes_nothing(record: ChatRecord, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(record.to_json(), "utf-8")
    assert read_record(file) == record
    file.write_text(record.to_json(), "utf-8-sig")  # as some editors save it
    assert read_record(file) == record
    assert record.media is not None
    assert record.media.frames is not None
    assert record.media.frames.indices[0] == 20
    assert len(record.media.frames.indices) == BUDGET
    assert record.turns[0].question == HOSTILE
    assert [turn.stopped for turn in record.turns] == [False, False, True]
    assert [turn.given_lines for turn in record.turns] == [LINES, (), ()]


@pytest.mark.parametrize("version", [1, 2, 3, 4, 6, 5.0, True, "5", None])
def test_a_chat_of_another_version_is_refused_in_one_line(values: Any, version: object) -> None:
    with pytest.raises(RecordError, match="reads version 5; use the longva-demo that saved the chat") as caught:
        parse_record(signed(values | {"version": version}))
    assert "\n" not in str(caught.value)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in JSON, containers included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def field_name(path: tuple[Any, ...]) -> str:
    """("turns", 0, "answer") as the error names it: turns[0].answer."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)[1:]


def container(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        values = values[key]
    return values


def test_each_missing_field_is_named(values: Any) -> None:
    named = [path for path in paths(values) if isinstance(path[-1], str) and path[-1] != "digest"]
    assert len(named) > 25
    for path in named:
        changed = copy.deepcopy(values)
        del container(changed, path)[path[-1]]
        with pytest.raises(RecordError) as caught:
            parse_record(signed(changed))
        assert f"the field {field_name(path)} " in caught.value.message


def test_each_value_of_another_type_is_named(values: Any) -> None:
    """Null for a value, a string for a number, a number for a string, an object for a list."""
    nullable = {("media",), ("media", "frames")}
    for path in [path for path in paths(values) if path != ("digest",)]:
        old = container(values, path)[path[-1]]
        for new in (None, True, "x", 7, 1e999, [], {}):
            fits = type(new) is type(old) or (isinstance(old, float) and new == 7)
            if fits or (new is None and path in nullable):
                continue
            changed = copy.deepcopy(values)
            container(changed, path)[path[-1]] = new
            text = signed(changed) if new != 1e999 else json.dumps(changed).replace("Infinity", "1e999")
            with pytest.raises(RecordError) as caught:
                parse_record(text)
            assert f"the field {field_name(path)}" in caught.value.message, (path, new)


def test_each_changed_value_is_detected(values: Any) -> None:
    """A changed value of the right type does not match the digest."""
    for path in paths(values):
        changed = copy.deepcopy(values)
        old = container(values, path)[path[-1]]
        if isinstance(old, dict | list):
            continue
        new = not old if isinstance(old, bool) else f"{old}x" if isinstance(old, str) else old + 1
        container(changed, path)[path[-1]] = new
        with pytest.raises(RecordError, match="the field "):
            parse_record(json.dumps(changed))


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("format",), "another"),
        (("version",), 4),
        (("saved",), "yesterday"),
        (("media", "sha256"), "0" * 63 + "g"),
        (("media", "size_bytes"), 0),
        (("media", "frames", "budget"), 3),
        (("media", "frames", "start_seconds"), -1.0),
        (("media", "frames", "end_seconds"), 1.0),
        (("media", "frames", "decoder"), "ffmpeg"),
        (("media", "frames", "indices"), list(range(20, 40))[::-1]),
        (("media", "frames", "indices"), []),
        (("media", "frames", "seconds"), [1.0]),
        (("model", "id"), ""),
        (("model", "quant"), "auto"),
        (("model", "dtype"), "int8"),
        (("turns",), []),
        (("turns", 0, "question"), " "),
        (("turns", 1, "temperature"), 3.0),
        (("turns", 1, "top_p"), 0.0),
        (("turns", 1, "max_new_tokens"), 100_000),
        (("turns", 1, "num_new_tokens"), 6),
        (("turns", 1, "more"), 1),
        (("turns", 1, "attribution"), [{"seconds": 1.0}]),
        (("turns", 0, "lines", 0, "start"), -1.0),
        (("turns", 0, "lines", 0, "end"), 2.0),
        (("turns", 0, "lines", 0, "text"), " "),
        (("turns", 0, "lines", 0, "text"), "x" * 2001),
        (("turns", 0, "lines", 0, "source"), "dream"),
    ],
)
def test_values_out_of_bounds_are_named(values: Any, path: tuple[Any, ...], new: object) -> None:
    changed = copy.deepcopy(values)
    container(changed, path)[path[-1]] = new
    with pytest.raises(RecordError) as caught:
        parse_record(signed(changed))
    field = "indices" if path[-1] == "budget" else path[-1]
    assert f".{field}" in caught.value.message or f"the field {field} " in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '"x"', "[" * 100_000, "9" * 5000, '{"format": NaN}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(RecordError):
        parse_record(text)


def test_text_that_is_not_unicode_is_refused(values: Any) -> None:
    changed = copy.deepcopy(values)
    changed["turns"][0]["question"] = "\ud800"
    with pytest.raises(RecordError, match="the file is not valid") as caught:
        parse_record(signed(changed))
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(clip: Path, tmp_path: Path) -> None:
    for path, words in ((clip, "is not a text file"), (tmp_path, "cannot be read"), (tmp_path / "no.json", "No such")):
        with pytest.raises(RecordError, match=words):
            read_record(path)


def test_a_replay_gives_the_same_answers(engine: LocalEngine, record: ChatRecord, clip: Path) -> None:
    check_file(record, clip)
    source = open_recorded(record, clip, engine.processor, LIMITS)
    results = [event for event in replay(engine, record, source) if isinstance(event, Replayed)]
    assert [result.new for result in results] == [turn.answer for turn in record.turns]
    assert all(result.equal for result in results)
    assert len({result.new for result in results}) > 1


def test_a_replay_gives_each_question_its_lines(engine: LocalEngine, record: ChatRecord, clip: Path) -> None:
    """The prompt is the same, token for token, although the lines are read from a file."""
    again = parse_record(record.to_json())
    prompts = []
    for one in (ChatLines(LINES), ChosenLines(again.turns[0].given_lines), None):
        session = ChatSession(engine)
        session.set_source(open_recorded(again, clip, engine.processor, LIMITS))
        session.lines = one
        answer(session, HOSTILE)
        prompts.append(session.turns[0].given_ids)
        session.close()
    assert prompts[0] == prompts[1]
    assert len(prompts[0]) > len(prompts[2])
    session = ChatSession(engine)
    resume(session, again)
    assert session.turns[0].lines == LINES


def test_lines_of_a_record_have_no_control_characters(values: Any) -> None:
    """In a prompt and on the page they are single lines, like those that are read from a video."""
    changed = copy.deepcopy(values)
    changed["turns"][0]["lines"][0]["text"] = "one\u2028line \u202e\x1b[31m"
    first, *_ = parse_record(signed(changed)).turns[0].given_lines
    assert first.text == "one line [31m"


def test_another_or_a_missing_file_is_refused(
    engine: LocalEngine, record: ChatRecord, values: Any, clip: Path, other_clip: Path
) -> None:
    with pytest.raises(DemoError, match=r"other\.mp4 is not the file of this chat"):
        check_file(record, other_clip)
    with pytest.raises(DemoError, match=r"the chat is about clip\.mp4"):
        check_file(record, None)
    changed = copy.deepcopy(values)
    changed["media"]["frames"]["indices"][-1] = 60  # of 60 frames, the last is 59
    with pytest.raises(RecordError, match=r"media\.frames\.indices"):
        open_recorded(parse_record(signed(changed)), clip, engine.processor, LIMITS)


def test_chats_about_a_picture_and_without_a_file(engine: LocalEngine, reference: Path) -> None:
    picture = reference / "inputs" / "image_200x100.png"
    for path in (picture, None):
        session = ChatSession(engine)
        session.set_source(ImageSource(path, engine.processor) if path else None)
        answer(session, "What is there?", GREEDY)
        record = parse_record(record_chat(session, 8).to_json())
        check_file(record, path)
        source = open_recorded(record, path, engine.processor, LIMITS)
        assert [event.equal for event in replay(engine, record, source) if isinstance(event, Replayed)] == [True]
    with pytest.raises(DemoError, match="is not about a file"):
        check_file(record, picture)


def test_a_continued_chat_answers_as_the_chat_itself_would(clip: Path) -> None:
    engine = LocalEngine(load("tiny"), Settings())
    sessions = [ChatSession(engine, is_shared=False) for _ in range(2)]
    for session in sessions:
        session.set_source(make_source(engine, clip, 8))
    first, second = sessions
    for question in ("What shape is there?", "Which way does it move?"):
        answer(first, question, GREEDY)
    resume(second, parse_record(record_chat(first, 8).to_json()))
    assert [turn.ids for turn in second.turns] == [turn.ids for turn in first.turns]
    for session in sessions:
        answer(session, "What colour is it?", GREEDY)
    assert second.turns[-1].answer == first.turns[-1].answer
    assert second.turns[-1].attribution is not None
    for session in sessions:
        session.close()
