"""The panel of what is said and written: subtitles, speech and text in the frames, in one list by time."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_words(elem_id: str) -> gr.HTML:
    """Value: see `page.words_state.WordsState.value`, or None.

    Events: `read_words` with `sources`, `stop_words`, `attach_words` with `name` and `file` (a subtitle file's bytes in
    base64), `find_words` with `text`, `save_words` with `format`, `give_words` with `wanted`.
    """
    return make_component("words", None, elem_id)
