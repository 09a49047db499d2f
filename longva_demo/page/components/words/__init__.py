"""The panel of what is said and written: subtitles, speech and text in the frames, in one list by time."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_words(elem_id: str) -> gr.HTML:
    """Events: `read` with `sources`, `stop`, `attach` with `file` (the bytes of a subtitle file in base64), `search`
    with `text`, `download` with `format`.

    Value: see `page.words.WordsState.value`, or None.
    """
    return make_component("words", None, elem_id)
