"""Keep a chat: as an HTML page to read, as JSON to ask again with `longva-demo replay`, or in the browser."""

import json
import re
import time
from typing import Any

import gradio as gr

from longva_demo.errors import DemoError
from longva_demo.page.errors import plain
from longva_demo.page.export import Part, to_html
from longva_demo.page.sessions import Pages

MEDIA_TYPES = {"html": "text/html", "json": "application/json"}
# Runs in the browser: hands over the file that `Save.save` made.
DOWNLOAD = """(file) => {
  const { name, type, text } = JSON.parse(file);
  const link = document.createElement("a"), url = URL.createObjectURL(new Blob([text], { type }));
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}"""


class Save:
    """The handlers of the two save buttons, and of what the browser keeps."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    def bind(
        self, transcript: gr.HTML, file: gr.Textbox, history: gr.HTML, changes: list[gr.events.Dependency]
    ) -> None:
        """Let the buttons call `save`, and each of the `changes` of the chat end in a copy in the browser."""
        common: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        saved = transcript.save(self.save, None, file, **common)
        saved.success(None, file, None, js=DOWNLOAD, **common)
        for change in changes:
            change.then(self.remember, None, history, **common)

    @plain
    def save(self, event: gr.EventData, request: gr.Request) -> str:
        """The whole transcript as HTML, or the last chat in it (about one look at one file) as JSON."""
        page = self.pages.get(request.session_hash)
        with page.alone():
            part = page.part()
        parts = [*page.past, *([part] if part else [])]
        if not parts:
            raise DemoError("there is nothing to save yet", "ask a question first")
        return json.dumps(make_file(parts, event.format))

    @plain
    def remember(self, request: gr.Request) -> dict[str, Any]:
        """The present chat for the browser to keep, in place of the page's one with the same number."""
        page = self.pages.get(request.session_hash)
        if page.has_open_turn:
            return gr.skip()  # it comes again when that answer is finished
        with page.turning:
            at, record, number = time.monotonic(), page.record(), len(page.past)
        return {"at": at, "page": page.token, "number": number, "record": record.to_json() if record else None}


def make_file(parts: list[Part], kind: str) -> dict[str, Any]:
    """Name, media type and text of the file."""
    media = parts[-1].record.media
    stem = re.sub(r"[^\w.-]+", "-", media.name.rpartition(".")[0] or media.name).strip(".-")[:60] if media else ""
    text = to_html(parts) if kind == "html" else parts[-1].record.to_json()
    return {"name": f"{stem or 'longva'}-chat.{kind}", "type": MEDIA_TYPES[kind], "text": text}
