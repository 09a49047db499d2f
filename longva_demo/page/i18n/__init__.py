"""The page's messages: one catalogue per language, from which the browser chooses (i18n.js). English comes first.

The server sends keys, such as `message("stats.reused")`, and the page formats them. The log, the command line, the API
and saved chats are in English.
"""

import json
from pathlib import Path
from string import Formatter

import gradio as gr

HERE = Path(__file__).parent
LANGUAGES = ("en", "ms", "fr", "zh")
CATALOGUES: dict[str, dict[str, str]] = {
    language: json.loads((HERE / f"{language}.json").read_text("utf-8")) for language in LANGUAGES
}
# `I18N("ask.button")` is a message for one of Gradio's own components.
I18N = gr.I18n(**CATALOGUES)
Message = dict[str, str | float]


def message(key: str, **slots: str | float) -> Message:
    """A message in the visitor's language: a key of the catalogues, and the values of its {slots}."""
    text = CATALOGUES["en"].get(key) or CATALOGUES["en"].get(f"{key}.other")
    assert text is not None, f"no message {key!r}"
    missing = {name for _, name, _, _ in Formatter().parse(text) if name} - set(slots)
    assert not missing, f"{key!r} has no {missing}"
    return {"key": key, **slots}
