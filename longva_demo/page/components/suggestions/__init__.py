"""Suggested questions."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_suggestions(elem_id: str) -> gr.HTML:
    """Value: a list of questions. Event: `choose`."""
    return make_component("suggestions", [], elem_id)
