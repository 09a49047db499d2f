"""What every component consists of: a template, a script, and a value that the script draws."""

from pathlib import Path

import gradio as gr

FOLDER = Path(__file__).parent
# Appends the time on the browser's clock to an event's inputs, so that the server recognises late events.
NOW = "(...inputs) => [...inputs.slice(0, -1), performance.now()]"


def make_component(name: str, value: object, elem_id: str, helpers: tuple[str, ...] = (), **slots: str) -> gr.HTML:
    """The component in the folder `name`: `template.html`, whose {{slots}} are filled in here, and `script.js`.

    The browser fills in the template's `${say("a.key")}`. The script draws `props.value` with `textContent`, so that
    what people or the model write is never markup. Each of the `helpers` is a file with one function for the script.

    This is a function and not a subclass of `gr.HTML`: Gradio writes a .pyi file next to the source of each subclass.
    """
    template = (FOLDER / name / "template.html").read_text("utf-8")
    for slot, text in slots.items():
        template = template.replace(f"{{{{{slot}}}}}", text)
    return gr.HTML(
        value=value,
        html_template=template,
        js_on_load=read_script(name, helpers),
        apply_default_css=False,
        elem_id=elem_id,
    )


def read_script(name: str, helpers: tuple[str, ...] = ()) -> str:
    """The helpers, then the script in a block of its own, whose names the helpers cannot see."""
    *functions, script = ((FOLDER / name / file).read_text("utf-8") for file in (*helpers, "script.js"))
    return "\n".join(('"use strict";', *functions, "{", script + "}"))
