"""Saving a chat: as an HTML page, as JSON for `longva-demo replay`, or in the browser's storage."""

import json
import re
import time
from typing import Any

import gradio as gr

from longva_demo.errors import DemoError
from longva_demo.page.errors import plain
from longva_demo.page.export import ChatSection, to_html
from longva_demo.page.sessions import Pages
from longva_demo.page.transcript import Value

MEDIA_TYPES = {"html": "text/html", "json": "application/json"}
# Runs in the browser: downloads the file that `Save.save` made.
DOWNLOAD = """(file) => {
  const { name, type, text } = JSON.parse(file);
  const link = document.createElement("a"), url = URL.createObjectURL(new Blob([text], { type }));
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}"""


class Save:
    """The handlers of the two save buttons and of the browser's storage."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    def bind(
        self, transcript: gr.HTML, file: gr.Textbox, history: gr.HTML, changes: list[gr.events.Dependency]
    ) -> None:
        """Bind the buttons to `save`, and let the browser store a copy after each of the `changes` of the chat."""
        common: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        saved = transcript.save(self.save, None, file, **common)
        saved.success(None, file, None, js=DOWNLOAD, **common)
        for change in changes:
            change.then(self.remember, None, history, **common)

    @plain
    def save(self, event: gr.EventData, request: gr.Request) -> str:
        """The whole transcript as HTML, or the chat about the present selection as JSON."""
        if event.format not in MEDIA_TYPES:
            raise DemoError("this is not a format of saved chats", f"use one of {', '.join(MEDIA_TYPES)}")
        page = self.pages.get(request.session_hash)
        with page.exclusive():
            chat = page.chat_section()
        chats = [*page.earlier_chats, *([chat] if chat else [])]
        if not chats:
            raise DemoError("there is nothing to save yet", "ask a question first")
        return json.dumps(make_file(chats, event.format))

    @plain
    def remember(self, request: gr.Request) -> Value:
        """The current chat for the browser's storage, where it replaces the page's chat with the same number."""
        page = self.pages.get(request.session_hash)
        if page.transcript.has_open_turn:
            return gr.skip()  # it is called again after that answer
        with page.chats_lock:
            at, record, number = time.monotonic(), page.record(), len(page.earlier_chats)
        if record is None and page.session.turns:
            return gr.skip()  # the browser keeps what it has
        return {"at": at, "page": page.token, "number": number, "record": record.to_json() if record else None}


def make_file(chats: list[ChatSection], kind: str) -> dict[str, str]:
    """Name, media type and text of the file. JSON holds only the last chat."""
    media = chats[-1].record.media
    stem = file_stem(media.name.rpartition(".")[0] or media.name) if media else ""
    text = to_html(chats) if kind == "html" else chats[-1].record.to_json()
    return {"name": f"{stem or 'longva'}-chat.{kind}", "type": MEDIA_TYPES[kind], "text": text}


def file_stem(text: str) -> str:
    """
    >>> file_stem("a red star?")
    'a-red-star'
    """
    return re.sub(r"[^\w.-]+", "-", text).strip(".-")[:60]
