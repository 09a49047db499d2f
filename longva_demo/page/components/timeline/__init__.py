"""The whole video as a strip: samples, range, the player's position, the trail back, and what a search found."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_timeline(can_search: bool, elem_id: str) -> gr.HTML:
    """`can_search`: show the search line.

    Event: `range`, after `selection.setRange`. `search` with `query`, `stop_search`, and `save` with `format`.

    Value: what a search has found so far (`longva_demo/page/finding.py`); None before one.

    The frame browser announces the selection. To show the weight of each sample (0 to 1, in order), a script dispatches
    `new CustomEvent("longva:weights", {detail: [...]})` on the document; a detail of null hides the weights.
    """
    return make_component("timeline", None, elem_id, ("find.js",), hidden="" if can_search else " hidden")
