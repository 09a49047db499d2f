"""Search on the page: when the selected video shows something. The curve and the ranges grow on the timeline."""

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from longva_demo.chat import Stage, VideoSource
from longva_demo.errors import DemoError
from longva_demo.moments import Finder, Moments, Search
from longva_demo.moments.export import ranges_csv, ranges_vtt
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import plain, streaming
from longva_demo.page.i18n import Message, message
from longva_demo.page.progress import progress_message
from longva_demo.page.save import DOWNLOAD, file_stem
from longva_demo.page.sessions import Pages
from longva_demo.page.transcript import Value

MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "vtt": "text/vtt"}


class Finding:
    """Handlers of the search line. Output: the timeline's value; see `make_timeline`."""

    def __init__(self, pages: Pages, finder: Finder) -> None:
        self.pages = pages
        self.finder = finder

    def bind(self, timeline: gr.HTML, asked_at: gr.Number, file: gr.Textbox) -> None:
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        timeline.search(self.search, asked_at, timeline, trigger_mode="multiple", js=NOW, **hidden)
        timeline.stop_search(self.stop_search, asked_at, None, queue=False, js=NOW, **hidden)
        saved = timeline.save(self.save_moments, None, file, **hidden)
        saved.success(None, file, None, js=DOWNLOAD, **hidden)

    @plain
    def stop_search(self, asked_at: float, request: gr.Request) -> None:
        """End the search. What is found so far stays."""
        self.pages.get(request.session_hash).search_task.stop(asked_at)

    @streaming
    def search(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Iterator[Value]:
        """Ask about each sampled frame on its own. The chat stays usable; another selection ends the search.

        asked_at: in ms on the browser's clock. A search that a newer act has overtaken is ignored.
        """
        page = self.pages.get(request.session_hash)
        if asked_at < max(page.selection_asked_at, page.search_task.asked_at):
            return
        stop = page.search_task.start(asked_at)
        source, search = page.source, Search(event.query)
        if not isinstance(source, VideoSource):
            raise DemoError("there is no video to search", "choose one, then search")

        def should_stop() -> bool:
            return stop.is_set() or page.source is not source

        failure: Exception | None = None
        found = Moments()
        value: Value = {"asked_at": asked_at, "query": search.query, "budget": source.num_frames}
        try:
            steps = self.finder(source, search, should_stop, page.session.name)
            for found in steps:
                yield value | shown(found, is_running=True)
        except Exception as error:
            failure = error
        page.moments = (search.query, found)
        yield value | shown(found, is_running=False)
        if failure is not None:
            raise failure

    @plain
    def save_moments(self, event: gr.EventData, request: gr.Request) -> str:
        """What the newest search has found, as a file."""
        if event.format not in MEDIA_TYPES:
            raise DemoError("this is not a format of found ranges", f"use one of {', '.join(MEDIA_TYPES)}")
        page = self.pages.get(request.session_hash)
        if page.moments is None:
            raise DemoError("there is nothing to save yet", "search for something first")
        query, found = page.moments
        texts = {
            "json": lambda: json.dumps({"query": query, **found.to_dict()}, ensure_ascii=False),
            "csv": lambda: ranges_csv(found.ranges),
            "vtt": lambda: ranges_vtt(found.ranges, query),
        }
        name = f"{file_stem(query)}-moments.{event.format}"
        return json.dumps({"name": name, "type": MEDIA_TYPES[event.format], "text": texts[event.format]()})


def shown(found: Moments, is_running: bool) -> Value:
    """Seconds and score of each frame, and the ranges."""
    return {
        "frames": [(round(frame.seconds, 3), round(frame.score, 3)) for frame in found.frames],
        "ranges": [{"start": one.start, "end": one.end, "score": one.score, "best": one.best} for one in found.ranges],
        "state": state_message(found, is_running),
        "running": is_running,
    }


def state_message(found: Moments, is_running: bool) -> Message:
    if is_running and found.progress is not None:
        if found.progress.stage == Stage.QUEUED:
            return progress_message(found.progress)
        return message(f"find.{found.progress.stage}", done=found.progress.done, total=found.progress.total)
    if is_running:
        return message("progress.waiting")
    if found.progress is not None:
        return message("find.stopped", count=len(found.frames))
    if not found.ranges:
        return message("find.unsure" if found.is_unsure else "find.none", count=len(found.frames))
    return message("find.found", count=len(found.ranges))
