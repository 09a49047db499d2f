"""Inputs as they came over HTTP are of the kind that each field holds.

Gradio would turn a list into text, answer other kinds with an error without words, and write what came into the log.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from longva_demo.errors import DemoError

# Times may be written as numbers.
TEXT, NUMBER = (str, int, float), (int, float)
KINDS: tuple[tuple[type[gr.blocks.Block], tuple[type, ...], str], ...] = (
    (gr.Textbox, TEXT, "text"),
    (gr.Number, NUMBER, "a number"),
    (gr.Slider, NUMBER, "a number"),
    (gr.File, (dict,), "an uploaded file"),
    (gr.Video, (dict,), "an uploaded file"),
    (gr.Image, (dict,), "an uploaded file"),
)
NAMES = {bool: "true or false", list: "a list", dict: "an object", str: "text", int: "a number", float: "a number"}


def check_inputs(fields: Sequence[Any], values: Sequence[Any], event: Any) -> None:
    """`fields` are the components whose `values` came, `event` is what its event carries.

    Raises:
        DemoError: too few values, one of another kind, or half a character, which can neither be shown nor kept.
    """
    if len(values) < len(fields):
        raise DemoError(f"{len(values)} inputs came where {len(fields)} are needed", "give all of them, in order")
    for field, value in zip(fields, values, strict=False):
        wanted, name = next((kind[1:] for kind in KINDS if isinstance(field, kind[0])), ((), ""))
        if not name or (value is None and not isinstance(field, gr.Number)):
            continue
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise DemoError(f"{field.label or field.elem_id} is {NAMES.get(type(value), 'nothing')}", f"give {name}")
    if is_torn([values, event]):
        raise DemoError("a text holds half a character (a lone surrogate)", "write it again")


def is_torn(value: Any) -> bool:
    if isinstance(value, str):
        return value != value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return any(is_torn(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(is_torn(part) for part in value)
