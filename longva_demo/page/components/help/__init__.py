"""The panel "Help and settings": language, theme, and every key of the page."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_help(elem_id: str) -> gr.HTML:
    """The event `longva:help` of the document opens it. It has no value."""
    return make_component("help", None, elem_id)
