"""The panel of the needle test: needles, progress and the heat map."""

import gradio as gr

from longva_demo.page.components.component import make_component
from longva_demo.page.documents import address_of

# Why a model that was trained on pictures alone finds a frame among many.
STUDY = "transfer.md"


def make_needle_test(elem_id: str) -> gr.HTML:
    """Events: `start`, `stop`.

    Value: None, or the start (`asked_at`), the haystack `sizes`, `depths`, `scores` (one row per depth, each cell None
    or (right, asked)), `needles` (`name` and `picture`), the message `state`, and whether the test is `running`.
    """
    address = address_of(STUDY)
    link = f'<a href="${{serverUrl("{address}")}}" target="_blank">${{say("needle.study")}}</a>' if address else ""
    return make_component("needle_test", None, elem_id, study=link)
