"""The whole video as a strip: the samples, the range, the player's position, and the trail back."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_timeline(elem_id: str) -> gr.HTML:
    """Event: `range` with `start` and `end` in seconds; None is the beginning or the end of the video.

    The frame browser announces the selection. To show the weight of each sample (0 to 1, in order), a script dispatches
    `new CustomEvent("longva:weights", {detail: [...]})` on the document; a detail of null hides the weights.
    """
    return make_component("timeline", None, elem_id)
