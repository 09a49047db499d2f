"""The panel of the needle test: needles, progress and the heat map."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_needle_test(elem_id: str) -> gr.HTML:
    """Events: `start`, `stop`.

    Value: None, or the start (`asked_at`), the haystack `sizes`, `depths`, `scores` (one row per depth, each cell None
    or (right, asked)), `needles` (`name` and `picture`), the message `state`, and whether the test is `running`.
    """
    return make_component("needle_test", None, elem_id)
