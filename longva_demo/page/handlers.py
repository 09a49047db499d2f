"""The page's handlers: select a video, ask, stop, undo. They are thin: `chat` and `video` do the work."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from longva_demo.chat import Engine, ImageSource, Sampling, VideoSource
from longva_demo.chat.answering import Answerer
from longva_demo.chat.record import parse_record
from longva_demo.chat.zero_gpu import quota_of
from longva_demo.errors import DemoError
from longva_demo.model.machine import probe_machine
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.components.machine import machine_facts
from longva_demo.page.components.meter import meter_facts
from longva_demo.page.components.preview import preview_steps
from longva_demo.page.errors import plain, streaming
from longva_demo.page.facts import source_facts
from longva_demo.page.progress import follow
from longva_demo.page.selection import SampledView, Selection
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.page.transcript import WAITING, Draft, TurnEntry, Value
from longva_demo.page.words import Words
from longva_demo.settings import Settings
from longva_demo.telemetry import Event, EventLog
from longva_demo.video import DecodeLimits

MAX_ENTRIES = 500  # of a transcript, which every update of an answer sends
# The question field while an answer is written. Each update repeats it, since Gradio may merge two updates into one.
SHOW_STOP_BUTTON = gr.update(stop_btn=True)
Updates = Iterator[tuple[Any, ...]]


class Handlers:
    """layout.py binds them to the page's events. Each takes the fields that it needs, and Gradio's request.

    asked_at: when the browser asked, in ms on its own clock, since requests may overtake each other.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        pages: Pages,
        answerer: Answerer,
        events: EventLog,
    ) -> None:
        self.engine = engine
        self.events = events
        self.answerer = answerer
        self.settings = settings
        self.pages = pages
        self.words = Words(pages, settings, events, self._meter)

    # Selecting. Outputs: frames, about, cost, transcript.

    @streaming
    def select(
        self,
        video: str | None,
        picture: str | None,
        num_frames: int,
        start: str,
        end: str,
        decoder: str,
        has_numbers: bool,
        asked_at: float,
        request: gr.Request,
    ) -> Updates:
        """Sample the frames and show them as they are decoded. A later call ends this one."""
        page = self.pages.get(request.session_hash)
        file = video or picture
        selection = Selection.from_fields(file, num_frames, start, end, decoder, self.settings, has_numbers)
        with self.events.event("select", where="page", session=page.session.name) as event:
            yield from self._select(page, selection, asked_at, event)

    def _select(self, page: Page, selection: Selection | None, asked_at: float, event: Event) -> Updates:
        """The last update says what is selected by then, even after an error: the browser waits for it."""
        try:
            page.select(selection, self.engine, self.settings, asked_at)
            event.mark("open")
            event.describe(page.source)
            view = page.view
            if view is not None and view.sheets.is_finished:
                view.resume()
            elif view is not None and view.sheets.claim():
                yield from self._sample(page, view)
            self._read_subtitles(page)
            yield self._outputs(page)
        except Exception:
            yield self._outputs(page)
            raise

    def _sample(self, page: Page, view: SampledView) -> Updates:
        """Decode into the view's sheets, which the browser fetches meanwhile.

        Two updates in short succession may reach the browser as one, so each is complete.
        """
        yield self._outputs(page)
        sheets = view.sheets
        try:
            if isinstance(view.source, ImageSource):
                sheets.add_picture(view.source.thumbnail)
            elif isinstance(view.source, VideoSource):
                self._decode(page, view.source, sheets)
        except Exception as error:
            page.deselect(sheets, str(error) if isinstance(error, DemoError) else "")
            raise
        finally:
            sheets.finish()

    def _read_subtitles(self, page: Page) -> None:
        """For the model, if it can use them. The panel reads them itself when it is first seen."""
        if page.session.reads_lines:
            self.words.read_subtitles(page)

    def _outputs(self, page: Page) -> tuple[Value, Value, Value, Value]:
        view, asked_at = page.selected
        frames: Value = {"token": None}
        about: Value | None = None
        if view is not None:
            frames, about = view.value, source_facts(view.source, view.selection.path.name)
        stamp: Value = {"asked_at": asked_at}
        if page.problem:
            about = {"problem": page.problem}
        return frames | stamp, (about or {}) | stamp, self._meter(page), page.transcript_value()

    def _decode(self, page: Page, source: VideoSource, sheets: Sheets) -> None:
        """Decode to the end, or until the selection changes. Then start to prepare the model's pixels."""
        size = sheets.tile_size(source.info.width, source.info.height)
        batches = source.previews(size) if source.is_dense else source.frames()
        try:
            for batch in batches:
                if page.sheets is not sheets:
                    return
                sheets.add(batch)
        finally:
            batches.close()
        source.prefetch()

    @plain
    def meter(self, request: gr.Request) -> Value:
        """What the page needs to compute the cost of a budget."""
        return self._meter(self.pages.get(request.session_hash))

    def _meter(self, page: Page) -> Value:
        """The page shows the one with the latest `at`: two handlers may send theirs out of order."""
        at = time.monotonic()
        view, asked_at = page.selected
        source, quota = view.source if view else None, quota_of(self.engine.settings.max_new_tokens)
        lines = page.session.lines_cost(page.words.given(page.file))
        facts = meter_facts(page.session.meter(1), source, self.engine.prefill_times, quota, lines)
        return facts | {"asked_at": asked_at, "at": at}

    @plain
    def examine(self) -> Value:
        """What LongVA-7B needs, and what this machine has."""
        return machine_facts(self.engine.model, probe_machine(), self.engine.capabilities)

    @streaming
    def preview(
        self, video: str | None, picture: str | None, asked_at: float, event: gr.EventData, request: gr.Request
    ) -> Iterator[Value]:
        """Make a preview of a video or picture that the browser cannot show."""
        page, limits = self.pages.get(request.session_hash), DecodeLimits.from_settings(self.settings)
        file, selection = video or picture, page.selection
        is_outdated = asked_at < page.selection_asked_at and selection is not None and str(selection.path) != file
        if file and not is_outdated:
            for step in preview_steps(page, Path(file), limits):
                yield {"ask": event.ask, **step}

    # Asking. Outputs: transcript, question field.

    @streaming
    def ask(
        self,
        question: str,
        video: str | None,
        picture: str | None,
        num_frames: int,
        start: str,
        end: str,
        decoder: str,
        has_numbers: bool,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        asked_at: float,
        request: gr.Request,
    ) -> Updates:
        """Stream the answer. The page has emptied the field; after an error the question returns to it."""
        page = self.pages.get(request.session_hash)
        page.is_outdated(asked_at)
        try:
            if not (question or "").strip():
                raise DemoError("the question is empty", "type one, or click a suggested question")
            if len(page.transcript.entries) >= MAX_ENTRIES:
                raise DemoError(f"the conversation has {MAX_ENTRIES} entries", "save it, clear it, and ask again")
            sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
            file = video or picture
            selection = Selection.from_fields(file, num_frames, start, end, decoder, self.settings, has_numbers)
            with page.exclusive():
                pass  # fails here while another answer is written, which a new selection would stop
            # The page has already asked for this selection, but the two requests may overtake each other.
            page.select(selection, self.engine, self.settings, asked_at)
            self._read_subtitles(page)
        except Exception:
            page.return_question(question)
            yield page.transcript_value(), gr.skip()
            raise
        yield from self._answer(page, question, sampling, asked_at, selection)

    @streaming
    def retry(
        self, temperature: float, top_p: float, max_new_tokens: int, asked_at: float, request: gr.Request
    ) -> Updates:
        """Answer the last question again."""
        sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
        yield from self._replace(None, sampling, asked_at, request)

    @streaming
    def edit(
        self,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        asked_at: float,
        event: gr.EventData,
        request: gr.Request,
    ) -> Updates:
        """Replace the last question by another one."""
        sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
        yield from self._replace(event.question, sampling, asked_at, request)

    def _replace(self, question: str | None, sampling: Sampling, asked_at: float, request: gr.Request) -> Updates:
        """Replace the last question by `question`, or answer it again if None."""
        page = self.pages.get(request.session_hash)
        if page.is_outdated(asked_at):
            if question:
                page.return_question(question)
            yield page.transcript_value(), gr.skip()
            raise DemoError("the chat has changed since this question was sent", "ask it again if you still want to")
        yield from self._answer(page, question, sampling, asked_at, page.selection, replaces=True)

    def _answer(
        self,
        page: Page,
        question: str | None,
        sampling: Sampling,
        asked_at: float,
        selection: Selection | None,
        replaces: bool = False,
    ) -> Updates:
        """Stream the answer about `selection`; with `replaces`, in place of the last one (None: to the same question).

        Without an answer, the question returns to its field, and the entry that was to be replaced stays.
        """
        failure: Exception | None = None
        with ExitStack() as lock:
            try:
                lock.enter_context(ready_to_answer(page, selection, replaces))
            except DemoError:
                if question:
                    page.return_question(question)
                yield page.transcript_value(), gr.skip()
                raise
            before = page.session.turns[-1] if page.session.turns else None
            asked = question or page.session.turns[-1].question
            replaced = page.transcript.pop() if replaces else None
            assert replaced is None or isinstance(replaced, TurnEntry)
            page.stop_requested.clear()
            page.answer_asked_at = asked_at
            page.session.lines = page.words.given(page.file)
            events = self.answerer(page.session, asked, sampling, replaces, page.stop_requested)
            page.transcript.append(TurnEntry(asked, draft=WAITING))

            def update(draft: Draft) -> None:
                page.transcript.replace(-1, TurnEntry(asked, draft=draft))

            try:
                yield page.transcript_value(), SHOW_STOP_BUTTON
                for _ in follow(events, update):
                    yield page.transcript_value(), SHOW_STOP_BUTTON
            except Exception as error:
                failure = error
            finally:
                events.close()
                newest = page.session.turns[-1] if page.session.turns else None
                is_answered = newest is not before
                page.finish_turn(newest if is_answered else None, replaced)
            answered = page.transcript.turn(-1) if is_answered else None
        if answered is not None and answered.is_refusal:
            yield page.transcript_value(), gr.update(stop_btn=page.is_answering)
            self.words.find_for(page, answered)
        if not is_answered and (replaced is None or replaced.question != asked):
            page.return_question(asked)
        yield page.transcript_value(), gr.update(stop_btn=page.is_answering)
        if failure is not None:
            raise failure

    @plain
    def attribute(self, wanted: bool, request: gr.Request) -> Value:
        """After an answer, find the frames that it used, if `wanted`."""
        page = self.pages.get(request.session_hash)
        return page.transcript_value() if wanted and page.attribute_last_answer() else gr.skip()

    @plain
    def stop(self, asked_at: float, request: gr.Request) -> None:
        """End the running answer, unless it was asked for later. The text so far stays."""
        page = self.pages.get(request.session_hash)
        if asked_at >= page.answer_asked_at:
            page.stop()

    @plain
    def undo(self, asked_at: float, request: gr.Request) -> Value:
        """Return the last question to its field."""
        page = self.pages.get(request.session_hash)
        if not page.is_outdated(asked_at):
            with page.exclusive():
                turn = page.session.undo()
                if turn is None:
                    raise DemoError("there is nothing to undo", "ask a question first")
                page.transcript.remove_last_turn()
                page.return_question(turn.question)
        return page.transcript_value()

    @plain
    def resume(self, event: gr.EventData, request: gr.Request) -> Value:
        """Continue an earlier chat, whose record this browser has kept, about the selected file."""
        page = self.pages.get(request.session_hash)
        record = parse_record(str(event.record))
        with page.exclusive(10.0):
            page.resume(record)
        return page.transcript_value()

    @plain
    def clear(self, asked_at: float, request: gr.Request) -> Value:
        """Forget the conversation; the video's prefix stays cached."""
        page = self.pages.get(request.session_hash)
        if not page.is_outdated(asked_at):
            page.stop()
            with page.exclusive(10.0):
                page.clear()
        return page.transcript_value()


@contextmanager
def ready_to_answer(page: Page, selection: Selection | None, replaces: bool) -> Iterator[None]:
    """Hold the session lock.

    Raises:
        DemoError: another answer is being written, the selection has changed, or there is no turn to replace.
    """
    with page.exclusive():
        if selection != page.selection:
            raise DemoError("something else was selected after this question", "ask it again if you still want to")
        if replaces and not page.session.turns:
            raise DemoError("there is no question to answer again", "ask one first")
        yield
