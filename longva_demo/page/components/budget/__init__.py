"""The frame budget: a logarithmic slider with a number field."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_budget(value: int, maximum: int, elem_id: str) -> gr.HTML:
    """Value: the number of frames. Event: `settle`, once the slider rests."""
    return make_component("budget", value, elem_id, maximum=str(maximum))
