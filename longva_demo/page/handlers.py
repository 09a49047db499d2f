"""What happens on the page: look at a video, ask, stop, take back. Thin: the work is done in `chat` and `video`."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gradio as gr

from longva_demo.chat import Engine, ImageSource, Progress, Sampling, Stage, TextDelta, VideoSource
from longva_demo.chat.answering import Answerer
from longva_demo.errors import DemoError
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.components.meter import meter_facts
from longva_demo.page.components.preview import preview_steps
from longva_demo.page.errors import plain, streaming
from longva_demo.page.facts import source_facts
from longva_demo.page.i18n import Message, message
from longva_demo.page.selection import SampledView, Selection
from longva_demo.page.sessions import Page, Pages
from longva_demo.settings import Settings
from longva_demo.telemetry import Event, EventLog
from longva_demo.video import DecodeLimits

# The transcript is sent at most this often while words stream in.
SECONDS_BETWEEN_UPDATES = 0.05
# The question field while an answer is written. It goes with every update, since one update may swallow another.
ANSWERING = gr.update(stop_btn=True)
Updates = Iterator[tuple[Any, ...]]


class Handlers:
    """Bound to the page's events by layout.py. Each takes the fields that it needs and Gradio's request."""

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

    # Looking. Outputs: frames, about, cost, transcript.

    @streaming
    def look(
        self,
        video: str | None,
        picture: str | None,
        num_frames: int,
        start: str,
        end: str,
        decoder: str,
        asked_at: float,
        request: gr.Request,
    ) -> Updates:
        """Sample the frames and show them as they come; a later call ends this one.

        asked_at: ms on the page's own clock; requests may overtake each other on their way.
        """
        page = self.pages.get(request.session_hash)
        look = Selection.from_fields(video or picture, num_frames, start, end, decoder, self.settings)
        with self.events.event("look", where="page", session=page.session.name) as this:
            yield from self._look(page, look, asked_at, this)

    def _look(self, page: Page, look: Selection | None, asked_at: float, this: Event) -> Updates:
        """Each look ends with what is selected by then, whatever came of it: the page waits for that."""
        try:
            page.select(look, self.engine, self.settings, asked_at)
            this.mark("opening")
            this.tell(page.source)
            view = page.view
            if view is not None and view.sheets.is_finished:
                view.resume()
            elif view is not None and view.sheets.claim():
                yield from self._sample(page, view)
            yield self._shown(page)
        except Exception:
            yield self._shown(page)
            raise

    def _sample(self, page: Page, view: SampledView) -> Updates:
        """Decode into the view's sheets, which the browser fetches meanwhile.

        Two updates that come close together may reach the browser as one, so each says everything.
        """
        yield self._shown(page)
        sheets = view.sheets
        try:
            if isinstance(view.source, ImageSource):
                sheets.add_picture(view.source.image)
            else:
                self._decode(page, view.source, sheets)
        except Exception:
            page.give_up(sheets)
            raise
        finally:
            sheets.finish()

    def _shown(self, page: Page) -> tuple[Any, ...]:
        view, asked_at = page.selected
        frames, about = {"token": None}, None
        if view is not None:
            frames, about = view.value, source_facts(view.source, view.look.path.name)
        stamp = {"asked_at": asked_at}
        return frames | stamp, (about or {}) | stamp, self._meter(page), page.shown()

    def _decode(self, page: Page, source: VideoSource, sheets: Sheets) -> None:
        """Decode to the end, or until something else is looked at; then see that the model's pixels are made."""
        size = sheets.tile_size(source.info.width, source.info.height)
        batches = source.previews(size) if source.is_dense else source.frames()
        try:
            for batch in batches:
                if page.sheets is not sheets:
                    return
                sheets.add(batch)
        finally:
            batches.close()
        source.fill()

    @plain
    def meter(self, request: gr.Request) -> dict[str, Any]:
        """What the page needs in order to say what a budget costs."""
        return self._meter(self.pages.get(request.session_hash))

    def _meter(self, page: Page) -> dict[str, Any]:
        view, asked_at = page.selected
        facts = meter_facts(page.session.meter(1), view.source if view else None, self.engine.prefill_times)
        return facts | {"asked_at": asked_at}

    @streaming
    def preview(
        self, video: str | None, picture: str | None, asked_at: float, event: gr.EventData, request: gr.Request
    ) -> Iterator[dict[str, Any]]:
        """The browser cannot play the video, or show the picture: make a preview."""
        page, limits = self.pages.get(request.session_hash), DecodeLimits.from_settings(self.settings)
        file = video or picture
        is_late = asked_at < page.asked_at and page.look is not None and str(page.look.path) != file
        if file and not is_late:
            for step in preview_steps(page, Path(file), limits):
                yield {"ask": event.ask, **step}

    # Asking. Outputs: transcript, question field. `asked_at` is a time on the page's own clock, as above.

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
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        asked_at: float,
        request: gr.Request,
    ) -> Updates:
        """Stream the answer. The page emptied the field; after an error the question goes back there."""
        page = self.pages.get(request.session_hash)
        page.is_late(asked_at)
        try:
            if not (question or "").strip():
                raise DemoError("there is no question yet", "type one, or click a suggested one")
            sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
            look = Selection.from_fields(video or picture, num_frames, start, end, decoder, self.settings)
            with page.alone():
                pass  # otherwise looking elsewhere would stop an answer that is being written
            # The page has asked to look there already, but questions may overtake looks, and the other way round.
            page.select(look, self.engine, self.settings, asked_at)
        except Exception:
            page.give_back(question)
            yield page.shown(), gr.skip()
            raise
        yield from self._answer(page, question, sampling, asked_at, look)

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
        """Put another question in place of the last one."""
        sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
        yield from self._replace(event.question, sampling, asked_at, request)

    def _replace(self, question: str | None, sampling: Sampling, asked_at: float, request: gr.Request) -> Updates:
        """Answer `question`, or the same one again, in place of the last one."""
        page = self.pages.get(request.session_hash)
        if page.is_late(asked_at):
            if question:
                page.give_back(question)
            yield page.shown(), gr.skip()
            raise DemoError("the chat went on meanwhile", "ask the question again if you still like")
        yield from self._answer(page, question, sampling, asked_at, page.look, replaces=True)

    def _answer(
        self,
        page: Page,
        question: str | None,
        sampling: Sampling,
        asked_at: float,
        look: Selection | None,
        replaces: bool = False,
    ) -> Updates:
        """Stream the answer about `look`; with `replaces` in place of the last one, and to the same question if None.

        Where no answer comes of it, the question returns to its field, or what was to be replaced to its place.
        """
        failure: Exception | None = None
        with ExitStack() as held:
            try:
                held.enter_context(page.alone())
                if look != page.look:
                    raise DemoError("something else was selected after this question", "ask it again if you still like")
                if replaces and not page.session.turns:
                    raise DemoError("there is no question to answer again", "ask one first")
            except DemoError:
                if question:
                    page.give_back(question)
                yield page.shown(), gr.skip()
                raise
            before = page.session.turns[-1] if page.session.turns else None
            question = question or page.session.turns[-1].question
            old = page.transcript.pop() if replaces else None
            entry: dict[str, Any] = {"kind": "turn", "question": question, "answer": ""}
            entry["status"] = message("progress.waiting")
            page.stopping.clear()
            page.answering_at = asked_at
            events: Any = self.answerer(page.session, question, sampling, old is not None, page.stopping)
            page.transcript.append(entry)
            try:
                yield page.shown(), ANSWERING
                for _ in follow(events, entry):
                    yield page.shown(), ANSWERING
            except Exception as error:
                failure = error
            finally:
                events.close()
                newest = page.session.turns[-1] if page.session.turns else None
                answered = newest is not before
                page.settle(newest if answered else None, old)
        if not answered and (old is None or old["question"] != question):
            page.give_back(question)
        yield page.shown(), gr.update(stop_btn=page.is_answering)
        if failure is not None:
            raise failure

    @plain
    def weigh(self, wanted: bool, request: gr.Request) -> Any:
        """After an answer: find the frames that it drew on, if that is `wanted`."""
        page = self.pages.get(request.session_hash)
        return page.shown() if wanted and page.weigh() else gr.skip()

    @plain
    def stop(self, asked_at: float, request: gr.Request) -> None:
        """End the running answer, unless it was asked for later. What was said so far stays."""
        page = self.pages.get(request.session_hash)
        if asked_at >= page.answering_at:
            page.stop()

    @plain
    def undo(self, asked_at: float, request: gr.Request) -> dict[str, Any]:
        """Take the last question back into its field."""
        page = self.pages.get(request.session_hash)
        if not page.is_late(asked_at):
            with page.alone():
                turn = page.session.undo()
                if turn is None:
                    raise DemoError("there is nothing to take back", "ask a question first")
                page.drop_turn()
                page.give_back(turn.question)
        return page.shown()

    @plain
    def clear(self, asked_at: float, request: gr.Request) -> dict[str, Any]:
        """Forget the conversation; the video stays read."""
        page = self.pages.get(request.session_hash)
        if not page.is_late(asked_at):
            page.stop()
            with page.alone(10.0):
                page.session.clear()
                page.transcript.clear()
                page.past.clear()
        return page.shown()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed, or its connection was."""
        self.pages.leave(request.session_hash)


def follow(events: Iterator[Any], entry: dict[str, Any]) -> Iterator[None]:
    """Write progress and text into the transcript's entry; yields when the page should be brought up to date."""
    last = 0.0
    for event in events:
        if isinstance(event, Progress):
            entry["status"] = progress_message(event)
            entry["progress"] = 0.0 if event.stage == Stage.QUEUED else event.done / max(1, event.total)
        elif isinstance(event, TextDelta):
            first = not entry["answer"]
            entry["answer"] += event.text
            entry["status"] = ""
            if first:
                last = 0.0
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_UPDATES:
            last = now
            yield


def progress_message(event: Progress) -> Message:
    if event.stage != Stage.QUEUED:
        return message(f"progress.{event.stage}", done=event.done, total=event.total)
    if event.seconds is None:
        return message("progress.queued", done=event.done)
    return message("progress.queued_time", done=event.done, duration=event.seconds)
