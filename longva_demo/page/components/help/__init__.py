"""The panel "Help and settings": language, theme, log-out, and every key of the page."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_help(has_login: bool, elem_id: str) -> gr.HTML:
    """The event `longva:help` of the document opens it. Its value: {"has_login"}, whether visitors log in."""
    return make_component("help", {"has_login": has_login}, elem_id)
