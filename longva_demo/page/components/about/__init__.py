"""Facts about the selected file, below the player."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_about(elem_id: str) -> gr.HTML:
    """Value: `source_facts`, or {"problem": what is wrong with a file that was chosen}.

    Event: `restore`, when the fields are to hold again what they held before that file.
    """
    return make_component("about", None, elem_id)
