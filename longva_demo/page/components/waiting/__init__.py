"""The question that waits until an upload is complete."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_waiting(elem_id: str) -> gr.HTML:
    return make_component("waiting", None, elem_id)
