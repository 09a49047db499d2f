"""What every component is made of: a template, a script and a value that the script draws."""

from pathlib import Path
from typing import Any

import gradio as gr

FOLDER = Path(__file__).parent
# Appends the page's own clock to an event's inputs, so that a late event can be told from a new one.
NOW = "(...inputs) => [...inputs.slice(0, -1), performance.now()]"


def make_component(
    name: str, value: Any, elem_id: str, scripts: tuple[str, ...] = ("script.js",), **slots: str
) -> gr.HTML:
    """The component in the folder `name`: `template.html`, whose {{slots}} are filled in here, and its scripts.

    The browser fills in the template's `${say("a.key")}`. The scripts run as one, in their order, and draw
    `props.value` with `textContent`: what people or the model write is never markup.

    It is a function around `gr.HTML`, not a subclass: for each subclass Gradio writes a .pyi file beside the source.
    """
    template = (FOLDER / name / "template.html").read_text("utf-8")
    for slot, text in slots.items():
        template = template.replace(f"{{{{{slot}}}}}", text)
    return gr.HTML(
        value=value,
        html_template=template,
        js_on_load="\n".join((FOLDER / name / script).read_text("utf-8") for script in scripts),
        apply_default_css=False,
        elem_id=elem_id,
    )
