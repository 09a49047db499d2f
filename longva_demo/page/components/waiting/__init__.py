"""The question that waits for the end of an upload."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_waiting(elem_id: str) -> gr.HTML:
    return make_component("waiting", None, elem_id)
