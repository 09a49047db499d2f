"""What happens on the page: look at a video, ask, stop, take back. Thin: the work is done in `chat` and `video`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from longva_demo.chat import Engine, ImageSource, Progress, Sampling, TextDelta, VideoSource
from longva_demo.errors import DemoError
from longva_demo.settings import Settings
from longva_demo.ui.asking import Asker
from longva_demo.ui.errors import plain, streaming
from longva_demo.ui.facts import source_facts
from longva_demo.ui.frame_browser import Sheets
from longva_demo.ui.gallery import Example
from longva_demo.ui.meter import meter_facts
from longva_demo.ui.observe import Event, EventLog
from longva_demo.ui.pages import Page, Pages
from longva_demo.ui.preview import preview_steps
from longva_demo.ui.texts import moment
from longva_demo.ui.views import Look, View
from longva_demo.ui.words import Line, line
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
        examples: list[Example],
        asker: Asker,
        events: EventLog,
    ) -> None:
        self.engine = engine
        self.events = events
        self.asker = asker
        self.settings = settings
        self.pages = pages
        self.examples = examples

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
        look = Look.from_fields(video or picture, num_frames, start, end, decoder, self.settings)
        with self.events.event("look", where="page", session=page.session.name) as this:
            yield from self._look(page, look, asked_at, this)

    def _look(self, page: Page, look: Look | None, asked_at: float, this: Event) -> Updates:
        try:
            page.look_at(look, self.engine, self.settings, asked_at)
            this.mark("opening")
            this.tell(page.source)
            view = page.view
            if view is None:
                yield None, None, self._meter(page), page.shown()
            elif view.sheets.is_finished:
                view.resume()
                yield self._shown(page, view)
            elif view.sheets.claim():
                yield from self._sample(page, view)
        except Exception:
            if page.look is None:
                yield None, None, self._meter(page), page.shown()
            raise

    def _sample(self, page: Page, view: View) -> Updates:
        """Decode into the view's sheets, which the browser fetches meanwhile.

        Two updates that come close together may reach the browser as one, so each says everything.
        """
        yield self._shown(page, view)
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
        if page.sheets is sheets:
            yield self._shown(page, view)

    def _shown(self, page: Page, view: View) -> tuple[Any, ...]:
        source = view.source
        about = source_facts(source, view.look.path.name)
        return view.value, about, self._meter(page), page.shown()

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
        return meter_facts(page.session.meter(1), page.source, self.engine.reads)

    @plain
    def take_range(self, event: gr.EventData, request: gr.Request) -> tuple[str, str]:
        """The fields From and To for a range chosen on the timeline or around a frame."""
        source = self.pages.get(request.session_hash).source
        if not isinstance(source, VideoSource):
            raise DemoError("there is no video", "load one first")
        start, end = event.start, event.end
        is_last = end is None or end >= source.info.duration_seconds - 0.005
        return moment(start) if start else "", "" if is_last else moment(end)

    @streaming
    def preview(self, video: str | None, event: gr.EventData, request: gr.Request) -> Iterator[dict[str, Any]]:
        """The browser cannot play the file: make a preview for its player."""
        if video:
            page, limits = self.pages.get(request.session_hash), DecodeLimits.from_settings(self.settings)
            for step in preview_steps(page, Path(video), limits):
                yield {"ask": event.ask, **step}

    @plain
    def pick(self, event: gr.EventData) -> tuple[Any, ...]:
        """An example: video, picture, tab, budget, start, end, suggestions."""
        example = self.examples[event.number]
        path = str(example.path)
        video, picture, tab = (None, path, "picture") if example.is_picture else (path, None, "video")
        return video, picture, gr.Tabs(selected=tab), example.num_frames, "", "", list(example.questions)

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
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        request: gr.Request,
    ) -> Updates:
        """Stream the answer. The page emptied the field; after an error the question stands there again."""
        page = self.pages.get(request.session_hash)
        try:
            if not (question or "").strip():
                raise DemoError("there is no question yet", "type one, or click a suggested one")
            sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
            look = Look.from_fields(video or picture, num_frames, start, end, decoder, self.settings)
            with page.alone():
                pass  # otherwise looking elsewhere would stop an answer that is being written
            page.look_at(look, self.engine, self.settings)  # it does so already, unless the question came in a hurry
        except Exception:
            yield page.shown(), gr.update(value=question)
            raise
        yield from self._answer(page, question, sampling)

    @streaming
    def retry(self, temperature: float, top_p: float, max_new_tokens: int, request: gr.Request) -> Updates:
        """Answer the last question again."""
        yield from self._replace(None, Sampling.from_fields(temperature, top_p, max_new_tokens), request)

    @streaming
    def edit(
        self, temperature: float, top_p: float, max_new_tokens: int, event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Put another question in place of the last one."""
        yield from self._replace(event.question, Sampling.from_fields(temperature, top_p, max_new_tokens), request)

    def _replace(self, question: str | None, sampling: Sampling, request: gr.Request) -> Updates:
        page = self.pages.get(request.session_hash)
        with page.alone():
            if not page.session.turns:
                raise DemoError("there is no question to answer again", "ask one first")
        old = page.transcript.pop()
        question = question or page.session.turns[-1].question
        yield from self._answer(page, question, sampling, old)

    def _answer(self, page: Page, question: str, sampling: Sampling, old: dict[str, Any] | None = None) -> Updates:
        """Stream the answer. Where none comes of it, `old` (the entry to be replaced) or the question returns."""
        entry: dict[str, Any] = {"kind": "turn", "question": question, "answer": "", "status": line("progress.waiting")}
        failure: Exception | None = None
        before = page.session.turns[-1] if page.session.turns else None
        with page.alone():
            page.stopping.clear()
            events: Any = self.asker(page.session, question, sampling, old is not None, page.stopping)
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
        field = gr.update(stop_btn=False)
        if not answered and old is None:
            field["value"] = question
        yield page.shown(), field
        if failure is not None:
            raise failure

    @plain
    def weigh(self, wanted: bool, request: gr.Request) -> Any:
        """After an answer: find the frames that it drew on, if that is `wanted`."""
        page = self.pages.get(request.session_hash)
        return page.shown() if wanted and page.weigh() else gr.skip()

    def stop(self, request: gr.Request) -> None:
        """End the running answer. What was said so far stays."""
        self.pages.get(request.session_hash).stop()

    @plain
    def undo(self, request: gr.Request) -> tuple[Any, ...]:
        """Take the last question back into its field."""
        page = self.pages.get(request.session_hash)
        with page.alone():
            turn = page.session.undo()
            if turn is None:
                raise DemoError("there is nothing to take back", "ask a question first")
            page.drop_turn()
        return page.shown(), turn.question

    @plain
    def clear(self, request: gr.Request) -> list[Any]:
        """Forget the conversation; the video stays read."""
        page = self.pages.get(request.session_hash)
        page.stop()
        with page.alone(10.0):
            page.session.clear()
            page.transcript.clear()
            page.past.clear()
        return []

    def leave(self, request: gr.Request) -> None:
        """The tab was closed, or its connection was."""
        self.pages.leave(request.session_hash)


def follow(events: Iterator[Any], entry: dict[str, Any]) -> Iterator[None]:
    """Write progress and text into the transcript's entry; yields when the page should be brought up to date."""
    last = 0.0
    for event in events:
        if isinstance(event, Progress):
            entry["status"] = progress_line(event)
            entry["progress"] = 0.0 if event.stage == "waiting" else event.done / max(1, event.total)
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


def progress_line(event: Progress) -> Line:
    if event.stage != "waiting":
        return line(f"progress.{event.stage}", done=event.done, total=event.total)
    if event.seconds is None:
        return line("progress.line", done=event.done)
    return line("progress.line_time", done=event.done, duration=event.seconds)
