"""Type checks of the inputs that come over HTTP.

Gradio would convert a list to text, answer other types with an error without a message, and log the input.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from longva_demo.errors import DemoError

# Times may be written as numbers.
TEXT, NUMBER, FILE = (str, int, float), (int, float), (dict,)
KINDS: tuple[tuple[type[gr.blocks.Block], tuple[type, ...], str], ...] = (
    (gr.Textbox, TEXT, "text"),
    (gr.Number, NUMBER, "a number"),
    (gr.Slider, NUMBER, "a number"),
    (gr.File, FILE, "an uploaded file"),
    (gr.Video, FILE, "an uploaded file"),
    (gr.Image, FILE, "an uploaded file"),
)
# What a handler reads of its event's data, by the handler's name.
EVENT_FIELDS: dict[str, dict[str, tuple[tuple[type, ...], str]]] = {
    "preview": {"ask": (NUMBER, "a number")},
    "edit": {"question": ((str,), "text")},
    "resume": {"record": ((str,), "text")},
    "save": {"format": ((str,), "text")},
    "search": {"query": ((str,), "text")},
    "save_moments": {"format": ((str,), "text")},
    "save_chapters": {"format": ((str,), "text")},
    "read_words": {"sources": ((str,), "text")},
    "attach_words": {"file": ((str,), "text"), "name": ((str,), "text")},
    "find_words": {"text": ((str,), "text")},
    "save_words": {"format": ((str,), "text")},
    "give_words": {"wanted": ((bool,), "true or false")},
    "blind": {"number": ((int,), "a whole number")},
    "compare": {"number": ((int,), "a whole number")},
}
NOT_UPLOADED = ("this file was not uploaded to this server", "upload it, and use the path that the server returns")
NAMES = {bool: "true or false", list: "a list", dict: "an object", str: "text", int: "a number", float: "a number"}


def check_inputs(fields: Sequence[Any], values: Sequence[Any], event: Any) -> None:
    """`values` are the inputs for the components `fields`, and `event` is the event's data.

    Raises:
        DemoError: too few values, a value of the wrong type, a file without Gradio's mark, or a lone surrogate, which
            cannot be encoded.
    """
    if len(values) < len(fields):
        raise DemoError(f"there are {len(values)} inputs instead of {len(fields)}", "give all of them, in order")
    for field, value in zip(fields, values, strict=False):
        wanted, name = next((kind[1:] for kind in KINDS if isinstance(field, kind[0])), ((), ""))
        if not name or (value is None and not isinstance(field, gr.Number)):
            continue
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise DemoError(f"{field.label or field.elem_id} is {NAMES.get(type(value), 'nothing')}", f"give {name}")
        if wanted == FILE and not is_marked(value):
            raise DemoError(*NOT_UPLOADED)
    if has_lone_surrogate([values, event]):
        raise DemoError("the text contains invalid Unicode", "write it again")


def check_event(handler: str, data: Any) -> None:
    """`data` is the data of an event for this handler.

    Raises:
        DemoError: a field is missing or has the wrong type.
    """
    for field, (wanted, name) in EVENT_FIELDS.get(handler, {}).items():
        value = data.get(field) if isinstance(data, dict) else None
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise DemoError(f"the event's {field} is {NAMES.get(type(value), 'nothing')}", f"give {name}")


def is_marked(file: Any) -> bool:
    """Whether Gradio will check that the file was uploaded. It ignores objects without this mark, even in a picture."""
    meta = file.get("meta")
    return isinstance(file.get("path"), str) and isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"


def has_lone_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return value != value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return any(has_lone_surrogate(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(has_lone_surrogate(part) for part in value)
