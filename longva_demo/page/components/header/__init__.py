"""The page's header: its title, a short description, and a badge with the model's name."""

import html
from pathlib import Path

import gradio as gr

from longva_demo.chat import ModelInfo

TEMPLATE = Path(__file__).with_name("template.html")
SCRIPT = """document.title = say("page.title");
const open = (name) => document.dispatchEvent(new CustomEvent(`longva:${name}`));
element.addEventListener("click", (event) => {
  if (event.target.closest(".badge")) open("machine");
  if (event.target.closest(".help-button")) open("help");
  if (!event.target.closest(".skip")) return;
  event.preventDefault();
  document.querySelector("#question textarea")?.focus();
});"""


def is_builtin(model: ModelInfo) -> bool:
    """Whether the model is the one inside the package, which reads only English."""
    return model.id == "tiny"


def make_header(model: ModelInfo, elem_id: str) -> gr.HTML:
    """The badge names the model, and opens the panel about it."""
    kind = model.quant if model.quant != "none" else model.dtype
    value = {
        "name": None if is_builtin(model) else html.escape(model.id.removesuffix("/").split("/")[-1]),
        "kind": html.escape(kind),
        "device": html.escape(model.device),
        "isHere": model.is_here,
        "adapter": model.adapter or None,
    }
    return gr.HTML(
        value=value,
        html_template=TEMPLATE.read_text("utf-8"),
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id=elem_id,
    )
