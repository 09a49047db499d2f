"""The picture field."""

import gradio as gr


def make_picture(elem_id: str) -> gr.Image:
    """An image input that passes on the uploaded file unread, so that `ImageSource` reports what is wrong with it."""
    picture = gr.Image(sources=["upload", "clipboard"], show_label=False, elem_id=elem_id, buttons=[])
    picture.preprocess = lambda payload: payload.path if payload is not None else None  # type: ignore[method-assign]
    return picture
