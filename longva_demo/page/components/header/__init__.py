"""The page's head: its title, one line of what this is, and the badge that says which model answers."""

import html
from pathlib import Path

import gradio as gr

from longva_demo.model import LoadedModel

TEMPLATE = Path(__file__).with_name("template.html")


def is_builtin(loaded: LoadedModel) -> bool:
    """Whether the model is the one inside the package, which reads English alone."""
    return loaded.model_id == "tiny"


def make_header(loaded: LoadedModel, elem_id: str) -> gr.HTML:
    """The badge opens on why this model, and how to choose another; the reason is the library's line, in English."""
    kind = loaded.quant if loaded.quant != "none" else str(loaded.dtype).removeprefix("torch.")
    value = {
        "name": None if is_builtin(loaded) else html.escape(loaded.model_id.removesuffix("/").split("/")[-1]),
        "kind": html.escape(kind),
        "device": html.escape(str(loaded.device)),
        "reason": html.escape(loaded.reason),
    }
    return gr.HTML(
        value=value,
        html_template=TEMPLATE.read_text("utf-8"),
        js_on_load='document.title = say("page.title");',
        apply_default_css=False,
        elem_id=elem_id,
    )
