"""The data of events, which any client may send."""

from typing import Any

import gradio as gr
import pytest

from longva_demo.chat import LocalEngine
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.server import build_app
from longva_demo.server.validation import EVENT_FIELDS, check_event, check_inputs
from longva_demo.settings import Settings

RIGHT: dict[str, Any] = {
    "ask": 1,
    "question": "What is it?",
    "query": "a star",
    "record": "{}",
    "format": "html",
    "sources": "subtitles",
    "file": "",
    "text": "star",
    "number": 0,
    "wanted": True,
    "name": "clip.srt",
}


def test_every_handler_that_reads_its_events_data_has_a_row() -> None:
    settings = Settings(model="tiny")
    with build_app(LocalEngine(load("tiny", device="cpu"), settings), settings) as app:
        reading = {str(handler.name) for handler in app.fns.values() if handler.collects_event_data}
    assert reading == set(EVENT_FIELDS)


@pytest.mark.parametrize("handler", EVENT_FIELDS)
def test_other_kinds_of_data_are_refused(handler: str) -> None:
    right = {field: RIGHT[field] for field in EVENT_FIELDS[handler]}
    check_event(handler, right)
    for field in right:
        values = (None, 1 if RIGHT[field] is True else True, [], {})
        for wrong in (None, [], "text", 10**30, {}, {"other": 1}, *(right | {field: value} for value in values)):
            named = field if isinstance(wrong, dict) and wrong.keys() == right.keys() else "[a-z]+"
            with pytest.raises(DemoError, match=f"the event's {named} is .*; give "):
                check_event(handler, wrong)


def test_other_handlers_ignore_their_events_data() -> None:
    check_event("select", None)
    check_event("stop", {"number": []})


@pytest.mark.parametrize("kind", [gr.File, gr.Video, gr.Image])
def test_a_file_without_gradios_mark_is_refused(kind: type[gr.blocks.Block]) -> None:
    """Gradio would pass its path on unchecked, to the page's picture field."""
    with gr.Blocks():
        fields = [kind()]
    mark = {"_type": "gradio.FileData"}
    check_inputs(fields, [{"path": "/uploads/a.png", "meta": mark}], None)
    check_inputs(fields, [None], None)
    for wrong in ({"path": "/etc/passwd"}, {"url": "/etc/passwd", "meta": mark}, {"path": None, "meta": mark}):
        with pytest.raises(DemoError, match="this file was not uploaded to this server; upload it"):
            check_inputs(fields, [wrong], None)
    for meta in (None, [], "gradio.FileData", {}, {"_type": None}, {"_type": "other"}):
        with pytest.raises(DemoError, match="this file was not uploaded to this server; upload it"):
            check_inputs(fields, [{"path": "/etc/passwd", "meta": meta}], None)
