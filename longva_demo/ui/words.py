"""The page's texts: one catalogue a language, which the browser chooses from (words.js). English is the first of them.

The server speaks in keys: `line("stats.first_word", duration=0.4)` becomes words on the page. What is written for the
log, the command line, the API and saved chats is English.
"""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from longva_demo.ui.restart import script

HERE = Path(__file__).parent
LANGUAGES = ("en", "ms", "fr", "zh")
CATALOGUES: dict[str, dict[str, str]] = {
    language: json.loads((HERE / "locales" / f"{language}.json").read_text("utf-8")) for language in LANGUAGES
}
# `WORDS("ask.button")` is a text for one of Gradio's own components.
WORDS = gr.I18n(**CATALOGUES)
Line = dict[str, Any]


def line(key: str, **slots: Any) -> Line:
    """A text that the page puts into its visitor's words: a key of the catalogues, and what goes into its {slots}."""
    assert key in CATALOGUES["en"] or f"{key}.other" in CATALOGUES["en"], f"no text {key!r}"
    return {"key": key, **slots}


def head() -> str:
    """The scripts for the page's head: they give `say` and `selection` to all others, and mend what Gradio lacks.

    The first ones use each other; each of the rest is by itself.
    """
    first = ("times.js", "words.js", "draft.js", "selection.js")
    rest = ("event_stream.js", "fields.js", "focus.js", "toasts.js")
    scripts = [script() + "".join(map(read, first)), *map(read, rest)]
    return "<script>" + "".join(f"{{{text}}}\n" for text in scripts) + "</script>"


def read(name: str) -> str:
    return (HERE / name).read_text("utf-8")
