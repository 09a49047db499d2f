"""Facts about the selected file, below the player."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_about(elem_id: str) -> gr.HTML:
    """Value: `source_facts`."""
    return make_component("about", None, elem_id)
