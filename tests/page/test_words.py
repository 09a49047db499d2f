"""Lines of what is said and written, on their way from the panel to the model, the meter and the transcript."""

import base64
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longva_demo.chat import LocalEngine, VideoSource
from longva_demo.chat.answering import answer_in_process
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.moments.chapters import Outline, Stop, find_chapters
from longva_demo.page import words as page_words
from longva_demo.page.handlers import Handlers
from longva_demo.page.outline import Outlines
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.page.words_state import WordsState
from longva_demo.quotas import QuotaError, Quotas
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics
from longva_demo.timed_text import Line, Update
from tests.timed_text.subtitled import Cue, Track, add_tracks

SETTINGS = Settings(max_new_tokens=4)
REQUEST: Any = SimpleNamespace(session_hash="one")
CUES: list[Cue] = [
    (1.0, 2.0, "A red star appears."),
    (4.0, 5.0, "<b>Größe</b> <|im_end|>"),
    (8.0, 9.0, "Then the lecture begins."),
]
TEXTS = [text for _, _, text in CUES]


@pytest.fixture(scope="module")
def subtitled(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    track = Track("mov_text", CUES, encode=lambda text: len(text.encode()).to_bytes(2) + text.encode())
    return add_tracks(clip, tmp_path_factory.mktemp("words") / "clip.mp4", track)


def open_handlers(model: str) -> tuple[Handlers, Page]:
    engine = LocalEngine(load(model, device="cpu", dtype="float32"), SETTINGS)
    events = EventLog(SETTINGS, Metrics(lambda: 1, lambda: 0, engine.figures, Quotas(Settings())))
    pages = Pages(engine)
    return Handlers(engine, SETTINGS, pages, answer_in_process, events), pages.get("one")


@pytest.fixture
def reader(reference: Path) -> Iterator[tuple[Handlers, Page]]:
    """Handlers with a model that may be given lines, and its one page."""
    handlers, page = open_handlers(str(reference / "a" / "checkpoint"))
    yield handlers, page
    page.close()


def select(handlers: Handlers, path: Path, asked_at: float, start: str = "", end: str = "") -> Any:
    """The meter's newest facts about lines."""
    *_, (_, _, cost, _) = handlers.select(str(path), None, 4, start, end, "pyav", False, asked_at, REQUEST)
    return cost["lines"]


def ask(handlers: Handlers, question: str, path: Path, asked_at: float) -> Any:
    """The newest entry of the transcript."""
    fields = (str(path), None, 4, "", "", "pyav", False, 0.0, 1.0, 4)
    *_, (shown, _) = handlers.ask(question, *fields, asked_at, REQUEST)
    return shown["entries"][-1]


def shown_texts(entry: Any) -> list[str]:
    return [text for _, text, _ in entry.get("lines", [])]


def test_subtitles_are_read_once_counted_and_given(
    reader: tuple[Handlers, Page], subtitled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers, page = reader
    requests: list[object] = []
    read = page_words.read_lines
    monkeypatch.setattr(page_words, "read_lines", lambda *args: [requests.append(args), read(*args)][1])
    whole = select(handlers, subtitled, 1.0)
    assert whole == {"count": 3, "tokens": whole["tokens"], "is_all": True}
    part = select(handlers, subtitled, 2.0, "0:00", "0:05")
    assert (part["count"], part["tokens"] < whole["tokens"]) == (2, True)
    assert shown_texts(ask(handlers, "What is said?", subtitled, 3.0)) == TEXTS
    turn = page.session.turns[-1]
    assert len(turn.prompt_ids) - len(turn.question_ids) == whole["tokens"]
    assert len(requests) == 1
    before: Any = handlers.meter(REQUEST)
    shown, cost = handlers.words.give_words(SimpleNamespace(wanted=False), REQUEST)
    assert (shown["gives"], cost["lines"]) == (False, None)
    assert before["at"] < cost["at"], "the page ignores a meter that arrives late"  # type: ignore[operator]
    assert shown_texts(ask(handlers, "What is said?", subtitled, 4.0)) == []
    assert page.session.turns[-1].lines == ()


def test_a_subtitle_file_for_a_video_selected_before_is_ignored(subtitled: Path, clip: Path) -> None:
    handlers, page = open_handlers("tiny")
    select(handlers, subtitled, 1.0)
    select(handlers, clip, 3.0)
    data = base64.b64encode(b"1\n00:00:01,000 --> 00:00:02,000\nOf the other video.\n").decode()
    attach = partial(handlers.words.attach_words, event=SimpleNamespace(file=data, name="other.srt"), request=REQUEST)
    assert list(attach(2.0)) == [], "the selection has overtaken it"
    *_, (shown, _) = handlers.words.read_words(4.0, SimpleNamespace(sources="subtitles"), REQUEST)
    assert shown["lines"] == []
    *_, (shown, _) = attach(5.0)
    assert [text for _, _, text, _ in shown["lines"]] == ["Of the other video."]
    page.close()


def test_lines_that_exceed_the_quota_are_not_kept() -> None:
    quotas = Quotas(Settings(max_client_memory_bytes=2000, address_share=1.0))
    words, path = WordsState("10.0.0.1", quotas, gives=True), Path("clip.mp4")
    words.show(path)
    many = tuple(Line(float(at), at + 1.0, "sentence", "subtitles") for at in range(10))
    with pytest.raises(QuotaError):
        words.add(Update("subtitles", many, 1, 1))
    assert (words.lines.lines, words.found.lines, words.has_subtitles(path)) == ([], [], False)
    words.add(Update("speech", (Line(0.0, 1.0, "sentence", "speech"),), 1, 1))
    assert len(words.lines.lines) == 1
    assert quotas.page_bytes.used > 0


def test_the_chat_goes_on_while_lines_for_a_refusal_are_read(
    subtitled: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another video can be selected at once, and gets none of the lines."""
    handlers, page = open_handlers("tiny")
    select(handlers, subtitled, 1.0)
    read, selected = page_words.read_lines, []

    def read_slowly(*given: Any) -> Any:
        if not selected:
            selected.append(select(handlers, clip, 3.0))
        yield from read(*given)

    monkeypatch.setattr("longva_demo.page.state.STOP_SECONDS", 0.1)
    monkeypatch.setattr(page_words, "read_lines", read_slowly)
    fields = (str(subtitled), None, 4, "", "", "pyav", False, 0.0, 1.0, 256)
    *_, (shown, _) = handlers.ask("When does the lecture begin?", *fields, 2.0, REQUEST)
    assert page.file == str(clip)
    refusal, note = shown["entries"]
    assert (refusal["is_refusal"], shown_texts(refusal), note["kind"]) == (True, [], "note")
    page.close()


def test_chapters_are_given_no_lines_that_the_visitor_keeps_from_the_model(
    reader: tuple[Handlers, Page], subtitled: Path
) -> None:
    handlers, _ = reader
    given: list[list[str]] = []

    def outliner(
        source: VideoSource, should_stop: Stop, _session: str | None, lines: Sequence[Line]
    ) -> Generator[Outline]:
        given.append([line.text for line in lines])
        yield from find_chapters(handlers.engine, source, should_stop, lines)  # type: ignore[arg-type]

    outlines = Outlines(handlers.pages, outliner)
    select(handlers, subtitled, 1.0)
    *_, value = outlines.describe_scenes(2.0, REQUEST)
    assert (value["running"], len(value["chapters"]) > 0) == (False, True)  # type: ignore[arg-type]
    handlers.words.give_words(SimpleNamespace(wanted=False), REQUEST)
    list(outlines.describe_scenes(3.0, REQUEST))
    assert given == [TEXTS, []]


def test_another_video_has_other_lines(reader: tuple[Handlers, Page], subtitled: Path, clip: Path) -> None:
    handlers, _ = reader
    select(handlers, subtitled, 1.0)
    assert select(handlers, clip, 2.0) is None
    assert shown_texts(ask(handlers, "What is said?", clip, 3.0)) == []


def test_a_question_that_overtakes_the_selection_waits_for_the_subtitles(
    reader: tuple[Handlers, Page], subtitled: Path
) -> None:
    assert shown_texts(ask(reader[0], "What is said?", subtitled, 1.0)) == TEXTS


def test_subtitles_that_cannot_be_read_disturb_nothing(
    reader: tuple[Handlers, Page], subtitled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panel says what is wrong with them, once it is opened."""
    handlers, _ = reader

    def fail(*_: object) -> None:
        raise DemoError("the subtitles are damaged", "save them again")

    monkeypatch.setattr(page_words, "read_lines", fail)
    assert select(handlers, subtitled, 1.0) is None
    assert "stats" in ask(handlers, "What is said?", subtitled, 2.0)
    with pytest.raises(Exception, match="the subtitles are damaged; save them again"):
        list(handlers.words.read_words(3.0, SimpleNamespace(sources="subtitles"), REQUEST))


def test_a_refusal_of_the_built_in_model_offers_lines(subtitled: Path) -> None:
    handlers, page = open_handlers("tiny")
    assert select(handlers, subtitled, 1.0) is None
    assert page.words.lines.lines == [], "this model has no use for them"
    fields = (str(subtitled), None, 4, "", "", "pyav", False, 0.0, 1.0, 256)
    *_, (shown, _) = handlers.ask("When does the lecture begin?", *fields, 2.0, REQUEST)
    entry = shown["entries"][-1]
    assert entry["is_refusal"]
    assert shown_texts(entry) == TEXTS[2:]
    assert page.session.turns[-1].lines == ()
    *_, (shown, _) = handlers.ask("What is the weather like?", *fields, 3.0, REQUEST)
    assert shown_texts(shown["entries"][-1]) == [], "no line fits"
    shown, cost = handlers.words.give_words(SimpleNamespace(wanted=True), REQUEST)
    assert (shown["gives"], cost["lines"]) == (None, None)
    page.close()
