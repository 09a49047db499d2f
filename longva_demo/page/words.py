"""The panel of what is said and written: its handlers. Lines are read when the visitor asks for them."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from longva_demo.chat import VideoSource
from longva_demo.errors import DemoError
from longva_demo.folders import temporary_folder
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import plain, streaming
from longva_demo.page.save import DOWNLOAD, MEDIA_TYPES, file_stem
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.page.transcript import Value
from longva_demo.page.words_state import WordsState
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog
from longva_demo.timed_text import FORMATS, Request, parse_sources, read_lines, write_lines
from longva_demo.timed_text.subtitles import MAX_FILE_BYTES
from longva_demo.video import DecodeLimits

# Between two updates, each of which has all lines: more, the longer it takes.
MIN_UPDATE_SECONDS, UPDATE_SHARE = 0.5, 0.05


class Words:
    """Handlers of the panel. Output: its value; see `WordsState.value`."""

    def __init__(self, pages: Pages, settings: Settings, events: EventLog) -> None:
        self.pages = pages
        self.settings = settings
        self.events = events

    def bind(self, panel: gr.HTML, asked_at: gr.Number, file: gr.Textbox) -> None:
        """`file` takes texts on their way to the browser."""
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        panel.read_words(self.read_words, asked_at, panel, js=NOW, trigger_mode="multiple", **hidden)
        panel.attach(self.attach, asked_at, panel, js=NOW, trigger_mode="multiple", **hidden)
        panel.stop_words(self.stop_words, None, None, queue=False, **hidden)
        found = panel.search(self.search, None, file, trigger_mode="always_last", **hidden)
        found.success(None, file, None, js=FOUND, **hidden)
        saved = panel.download(self.download, None, file, **hidden)
        saved.success(None, file, None, js=DOWNLOAD, **hidden)

    @streaming
    def read_words(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Iterator[Value]:
        """Read the sources that the event names. What was read of others stays."""
        yield from self._read(self.pages.get(request.session_hash), str(event.sources), asked_at)

    @streaming
    def attach(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Iterator[Value]:
        """Use the visitor's subtitle file, whose bytes come in base64, instead of the video's own."""
        page = self.pages.get(request.session_hash)
        try:
            data = base64.b64decode(str(event.file), validate=True)
        except ValueError:
            raise DemoError("the subtitle file arrived damaged", "choose it again") from None
        source = source_of(page)
        page.words.show(source.info.path)
        page.words.attach(data)
        yield from self._read(page, "subtitles", asked_at)

    def _read(self, page: Page, sources: str, asked_at: float) -> Iterator[Value]:
        """A later call, another file or `stop_words` ends it. The last update has what was read."""
        words, source = page.words, source_of(page)
        if asked_at < max(page.selection_asked_at, words.asked_at):
            return  # a newer act has overtaken this one
        words.asked_at = asked_at
        words.show(source.info.path)
        stop = words.start()
        request = Request(
            sources=parse_sources(sources),
            subtitles=words.attached,
            looks_beside=False,
            start_seconds=0.0,
            speech_model=self.settings.speech_model,
            may_download=False,
        )
        limits = DecodeLimits.from_settings(self.settings)
        with self.events.event("words", where="page", sources=request.sources) as entry:
            started = shown_at = time.monotonic()
            with closing(read_lines(source.info, request, limits)) as updates:
                for update in updates:
                    if stop.is_set() or words.path != source.info.path:
                        entry.outcome = "stopped"
                        break
                    words.add(update)
                    now = time.monotonic()
                    if now - shown_at > max(MIN_UPDATE_SECONDS, UPDATE_SHARE * (now - started)):
                        shown_at = now
                        yield words.value
            words.finish(stop)
            entry.facts["lines"] = len(words.lines.lines)
        yield words.value

    @plain
    def stop_words(self, request: gr.Request) -> None:
        self.pages.get(request.session_hash).words.stop.set()

    @plain
    def search(self, event: gr.EventData, request: gr.Request) -> str:
        """Positions of the lines that match."""
        words = self.pages.get(request.session_hash).words
        text = str(event.text)[:MAX_SEARCH]
        return json.dumps({"text": text, "matches": words.lines.index.matching_positions(text)})

    @plain
    def download(self, event: gr.EventData, request: gr.Request) -> str:
        """The lines as a file."""
        page = self.pages.get(request.session_hash)
        if event.format not in (*FORMATS, "json"):
            raise DemoError("this is not a format of lines", f"use {', '.join(FORMATS)} or json")
        name = f"{file_stem(page.words.path.name)}.{event.format}" if page.words.path else f"words.{event.format}"
        text = write_lines(page.words.lines.lines, str(event.format))
        return json.dumps({"name": name, "type": TYPES[event.format], "text": text})


def source_of(page: Page) -> VideoSource:
    if not isinstance(page.source, VideoSource):
        raise DemoError("there is no video", "choose one first")
    return page.source
