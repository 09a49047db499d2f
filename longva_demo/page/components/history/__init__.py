"""Earlier chats in this browser, to read."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_history(elem_id: str) -> gr.HTML:
    """Value: the current chat for the browser's storage, {"at", "page", "number", "record"}, or None."""
    return make_component("history", None, elem_id)
