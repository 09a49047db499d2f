"""The video's whole length as a strip: where the samples lie, the range, the player's position, and the way back."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_timeline(elem_id: str) -> gr.HTML:
    """Event: `range` with `start` and `end` in seconds; None is the beginning or the end of the video.

    It hears from the frame browser what is looked at. To show how much each sample weighs (0 to 1, in their order), a
    script dispatches `new CustomEvent("longva:weights", {detail: [...]})` on the document; null ends it.
    """
    return make_component("timeline", None, elem_id)
