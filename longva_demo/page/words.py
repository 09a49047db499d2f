"""The panel of what is said and written: its handlers. Lines are read when the visitor asks for them."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from longva_demo.chat import VideoSource
from longva_demo.errors import DemoError
from longva_demo.folders import own_folder
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import plain, streaming
from longva_demo.page.save import DOWNLOAD, file_stem
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.page.transcript import TurnEntry, Value
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog
from longva_demo.timed_text import FORMATS, Request, parse_sources, read_lines, seldom, write_lines
from longva_demo.timed_text.packages import is_installed
from longva_demo.timed_text.store import LineStore
from longva_demo.video import DecodeLimits, VideoInfo

MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "txt": "text/plain", "json": "application/json"}
MAX_FILE_BYTES = 500_000  # of a subtitle file; the panel's script has the same limit
Shown = Iterator[tuple[Value, Value]]
# Runs in the browser: tells the panel which lines match.
FOUND = "(found) => document.dispatchEvent(new CustomEvent('longva:words-found', { detail: JSON.parse(found) }))"


class Words:
    """Handlers of the panel. Outputs: its value, see `WordsState.value`, and the meter, which counts lines too."""

    def __init__(self, pages: Pages, settings: Settings, events: EventLog, meter: Callable[[Page], Value]) -> None:
        self.pages = pages
        self.settings = settings
        self.events = events
        self.meter = meter

    def bind(self, panel: gr.HTML, cost: gr.HTML, asked_at: gr.Number, file: gr.Textbox) -> None:
        """`file` takes texts on their way to the browser."""
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        many: dict[str, Any] = {"trigger_mode": "multiple", **hidden}
        shown = [panel, cost]
        panel.read_words(self.read_words, asked_at, shown, js=NOW, **many)
        panel.attach_words(self.attach_words, asked_at, shown, js=NOW, **many)
        panel.stop_words(self.stop_words, None, panel, queue=False, **hidden)
        panel.give_words(self.give_words, None, shown, queue=False, **many)
        panel.find_words(self.find_words, None, file, **many).success(None, file, None, js=FOUND, **hidden)
        panel.save_words(self.save_words, None, file, **hidden).success(None, file, None, js=DOWNLOAD, **hidden)

    @streaming
    def read_words(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Shown:
        """Read the sources that the event names. Lines of other sources stay."""
        page = self.pages.get(request.session_hash)
        if str(event.sources) == "subtitles" and page.words.has_subtitles(source_of(page).info.path):
            page.words.asked_at = asked_at  # they were read before the panel was first seen
            yield self._outputs(page)
        else:
            yield from self._read(page, str(event.sources), asked_at)

    @streaming
    def attach_words(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Shown:
        """Use the visitor's subtitle file, whose bytes come in base64, instead of the video's own."""
        page = self.pages.get(request.session_hash)
        try:
            data = base64.b64decode(str(event.file), validate=True)
        except ValueError:
            raise DemoError("the subtitle file arrived damaged", "choose it again") from None
        if len(data) > MAX_FILE_BYTES:
            raise DemoError(f"the subtitle file has {len(data):,} bytes", f"use one of at most {MAX_FILE_BYTES:,}")
        if not is_overtaken(page, asked_at):  # else the file is for a video that was selected before
            page.words.show(source_of(page).info.path)
            page.words.attach(data, file_stem(str(event.name)) or "subtitles")
            yield from self._read(page, "subtitles", asked_at)

    def read_subtitles(self, page: Page) -> None:
        """Read the selected video's subtitles, unless they were. An error waits until the panel asks for them."""
        source, words = page.source, page.words
        if not isinstance(source, VideoSource) or not is_installed("subtitles"):
            return
        with words.subtitles_lock, suppress(DemoError):
            if not words.running and not words.has_subtitles(source.info.path):
                for _ in self._read(page, "subtitles", page.selection_asked_at):
                    pass

    def find_for(self, page: Page, refusal: TurnEntry) -> None:
        """Offer the lines that fit best below a refusal, if it is still the last entry.

        Reading the subtitles of a long file takes a while. Meanwhile the chat can go on.
        """
        self.read_subtitles(page)
        lines = page.words.best(refusal.question, refusal.file)
        with suppress(DemoError), page.exclusive():
            if page.transcript.entries and page.transcript.entries[-1] is refusal:
                page.transcript.replace(-1, replace(refusal, lines=lines))

    def _read(self, page: Page, sources: str, asked_at: float) -> Shown:
        """A later reading, another file or `stop_words` ends it. The last value comes after errors too."""
        words, info = page.words, source_of(page).info
        if is_overtaken(page, asked_at):
            return
        request = Request(
            sources=parse_sources(sources),
            subtitles=words.attached_to(info.path),
            looks_beside=False,
            speech_model=self.settings.speech_model,
            may_download=False,
            store=LineStore(own_folder() / "words"),
        )
        words.show(info.path)
        failure: Exception | None = None
        try:
            yield from self._updates(page, info, request, words.start(request.sources[0], asked_at))
        except Exception as error:
            failure = error
        yield self._outputs(page)
        if failure is not None:
            raise failure

    def _outputs(self, page: Page) -> tuple[Value, Value]:
        return page.words.value, self.meter(page)

    def _updates(self, page: Page, info: VideoInfo, request: Request, stop: threading.Event) -> Shown:
        words, limits = page.words, DecodeLimits.from_settings(self.settings)
        with self.events.event("words", where="page", sources=request.sources, lines=0) as entry:
            try:
                yield self._outputs(page)
                with closing(seldom(read_lines(info, request, limits))) as updates:  # type: ignore[type-var]
                    for update in updates:
                        if stop.is_set() or page.file != str(info.path):
                            entry.outcome = "stopped"
                            break
                        words.add(update)
                        entry.facts["lines"] = len(words.lines.lines)
                        yield self._outputs(page)
            finally:
                words.finish(stop)

    @plain
    def stop_words(self, request: gr.Request) -> Value:
        """End the reading. The lines so far stay."""
        words = self.pages.get(request.session_hash).words
        words.stop.set()
        words.finish(words.stop)
        return words.value

    @plain
    def give_words(self, event: gr.EventData, request: gr.Request) -> tuple[Value, Value]:
        """Whether the model is given lines from now on."""
        page = self.pages.get(request.session_hash)
        if page.words.gives is not None:
            page.words.gives = event.wanted
        return self._outputs(page)

    @plain
    def find_words(self, event: gr.EventData, request: gr.Request) -> str:
        """The positions of the lines that match."""
        lines = self.pages.get(request.session_hash).words.lines
        text = str(event.text)
        return json.dumps({"text": text, "matches": lines.index.matching(text)})

    @plain
    def save_words(self, event: gr.EventData, request: gr.Request) -> str:
        """The lines as a file."""
        words, kind = self.pages.get(request.session_hash).words, str(event.format)
        if kind not in MEDIA_TYPES:
            raise DemoError("this is not a format of lines", f"use {', '.join(FORMATS)} or json")
        name = f"{file_stem(words.path.stem) if words.path else 'longva'}.{kind}"
        return json.dumps({"name": name, "type": MEDIA_TYPES[kind], "text": write_lines(words.lines.lines, kind)})


def is_overtaken(page: Page, asked_at: float) -> bool:
    """Whether a newer selection or reading has overtaken what was asked for at `asked_at`."""
    return asked_at < max(page.selection_asked_at, page.words.asked_at)


def source_of(page: Page) -> VideoSource:
    """Raises DemoError if no video is selected."""
    if not isinstance(page.source, VideoSource):
        raise DemoError("there is no video", "choose one first")
    return page.source
