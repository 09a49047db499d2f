"""The page's messages: one catalogue per language, from which the browser chooses (words.js). English comes first.

The server sends keys: `message("stats.first_word", duration=0.4)` becomes words on the page. The log, the command line,
the API and saved chats are in English.
"""

import json
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
LANGUAGES = ("en", "ms", "fr", "zh")
CATALOGUES: dict[str, dict[str, str]] = {
    language: json.loads((HERE / f"{language}.json").read_text("utf-8")) for language in LANGUAGES
}
# `WORDS("ask.button")` is a text for one of Gradio's own components.
WORDS = gr.I18n(**CATALOGUES)
Message = dict[str, Any]


def message(key: str, **slots: Any) -> Message:
    """A text that the page puts into its visitor's words: a key of the catalogues, and what goes into its {slots}."""
    assert key in CATALOGUES["en"] or f"{key}.other" in CATALOGUES["en"], f"no text {key!r}"
    return {"key": key, **slots}
