"""The panel of the chapters: a list of scenes that plays, and leads to a question."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_chapters(elem_id: str) -> gr.HTML:
    """Events: `start`, `stop`, and `save` with `format`.

    Value: None, or the start (`asked_at`), the `chapters` (`start`, `end`, `title`), the message `state`, and whether
    it is `running`.
    """
    return make_component("chapters", None, elem_id)
