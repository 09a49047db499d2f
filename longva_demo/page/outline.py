"""Chapters on the page: the scenes of the selected range, each described on its own, as they come."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from longva_demo.chat import Stage, VideoSource
from longva_demo.errors import DemoError
from longva_demo.moments import Outliner
from longva_demo.moments.chapters import NUM_FRAMES, Outline
from longva_demo.moments.export import chapters_markdown, chapters_vtt
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import plain, streaming
from longva_demo.page.i18n import Message, message
from longva_demo.page.progress import progress_message
from longva_demo.page.save import DOWNLOAD
from longva_demo.page.sessions import Pages
from longva_demo.page.transcript import Value
from longva_demo.video import plan_frames

MEDIA_TYPES = {"json": "application/json", "vtt": "text/vtt", "md": "text/markdown"}


class Outlines:
    """Handlers of the panel. Output: its value; see `make_chapters`."""

    def __init__(self, pages: Pages, outliner: Outliner) -> None:
        self.pages = pages
        self.outliner = outliner

    def bind(self, panel: gr.HTML, asked_at: gr.Number, file: gr.Textbox) -> None:
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        panel.start(self.describe_scenes, asked_at, panel, trigger_mode="multiple", js=NOW, **hidden)
        panel.stop(self.stop_scenes, asked_at, None, queue=False, js=NOW, **hidden)
        saved = panel.save(self.save_chapters, None, file, **hidden)
        saved.success(None, file, None, js=DOWNLOAD, **hidden)

    @plain
    def stop_scenes(self, asked_at: float, request: gr.Request) -> None:
        """End it. The scenes so far stay."""
        self.pages.get(request.session_hash).outline_task.stop(asked_at)

    @streaming
    def describe_scenes(self, asked_at: float, request: gr.Request) -> Iterator[Value]:
        """Sample the selected range densely, find its scenes, and describe each. Another selection ends it.

        What was read in the tab Words so far helps with the titles, unless its lines are not given to the model.

        asked_at: in ms on the browser's clock. A start that a newer act has overtaken is ignored.
        """
        page = self.pages.get(request.session_hash)
        if asked_at < max(page.selection_asked_at, page.outline_task.asked_at):
            return
        stop = page.outline_task.start(asked_at)
        shown = page.source
        if not isinstance(shown, VideoSource):
            raise DemoError("there is no video to divide into scenes", "choose one, then start")

        def should_stop() -> bool:
            return stop.is_set() or page.source is not shown

        has_lines = page.words.path == shown.info.path and page.words.gives is not False
        lines = page.words.lines.lines if has_lines else []
        failure: Exception | None = None
        outline = Outline()
        value: Value = {"asked_at": asked_at}
        try:
            plan = plan_frames(shown.info, NUM_FRAMES, shown.plan.start_seconds, shown.plan.end_seconds)
            source = VideoSource(shown.info, plan, self.pages.processor, shown.decoder, shown.limits)
            with closing(source), page.quotas.disk_bytes.hold(page.client, source.planned_bytes):
                for outline in self.outliner(source, should_stop, page.session.name, lines):
                    yield value | drawn(outline, is_running=True)
        except Exception as error:
            failure = error
        page.outline = outline
        yield value | drawn(outline, is_running=False)
        if failure is not None:
            raise failure

    @plain
    def save_chapters(self, event: gr.EventData, request: gr.Request) -> str:
        """The chapters as a file."""
        if event.format not in MEDIA_TYPES:
            raise DemoError("this is not a format of chapters", f"use one of {', '.join(MEDIA_TYPES)}")
        outline = self.pages.get(request.session_hash).outline
        if outline is None or not outline.chapters:
            raise DemoError("there is nothing to save yet", "start it first")
        texts = {
            "json": lambda: json.dumps(outline.to_list(), ensure_ascii=False),
            "vtt": lambda: chapters_vtt(outline.chapters),
            "md": lambda: chapters_markdown(outline.chapters),
        }
        name = f"chapters.{event.format}"
        return json.dumps({"name": name, "type": MEDIA_TYPES[event.format], "text": texts[event.format]()})


def drawn(outline: Outline, is_running: bool) -> Value:
    return {"chapters": outline.to_list(), "state": state_message(outline, is_running), "running": is_running}


def state_message(outline: Outline, is_running: bool) -> Message:
    progress, count = outline.progress, len(outline.chapters)
    if is_running and progress is None:
        return message("progress.waiting")
    if is_running and progress is not None:
        if progress.stage == Stage.QUEUED:
            return progress_message(progress)
        return message(f"chapters.{progress.stage}", done=progress.done, total=progress.total)
    return message("chapters.stopped" if progress is not None or not count else "chapters.done", count=count)
