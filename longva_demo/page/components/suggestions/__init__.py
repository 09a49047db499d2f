"""Suggested questions."""

import html
import json

import gradio as gr

from longva_demo.page.components.component import make_component
from longva_demo.page.i18n import Message, message

# About the visitor's own file. The built-in model is asked what it was trained on, in English, the only language that
# it reads.
OWN: dict[str, list[Message]] = {
    kind: [message(f"own.{kind}_{name}") for name in names]
    for kind, names in {"video": ("happens", "ends", "text"), "picture": ("shown", "where", "text")}.items()
}
OWN_BUILTIN = {
    kind: ["What do you see?", f"What number appears in the {kind}?", "What colour is the background?"]
    for kind in ("video", "picture")
}


def make_suggestions(has_builtin_model: bool, elem_id: str) -> gr.HTML:
    """Value: a list of questions. Event: `choose`."""
    own = json.dumps(OWN_BUILTIN if has_builtin_model else OWN)
    return make_component("suggestions", [], elem_id, own=html.escape(own))
