"""The last chats of this browser, to read."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_history(elem_id: str) -> gr.HTML:
    """Value: the present chat to remember, {"at", "page", "number", "record"}, or None."""
    return make_component("history", None, elem_id)
