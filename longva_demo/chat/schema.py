"""JSON into frozen dataclasses, strictly: what does not fit ends in one line that names the field."""

import json
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from longva_demo.errors import DemoError

REMEDY = "save the chat again, or take an unchanged copy"
NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class RecordError(DemoError):
    """A file that is no chat record of ours, or not as it was saved."""


class FieldError(Exception):
    """A field of one object, and what is wrong with it."""


def require(holds: bool, field: str, problem: str) -> None:
    """For `__post_init__` of the dataclasses: a FieldError unless it holds. `convert` adds the path to the field."""
    if not holds:
        raise FieldError(field, problem)


def load_json(text: str) -> Any:
    """The values in `text`: no key twice, no NaN. Raises RecordError."""
    try:
        return json.loads(text, object_pairs_hook=without_doubles, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise RecordError("this is no JSON", "give the JSON file of a saved chat") from None


def convert(kind: Any, value: Any, field: str) -> Any:
    """`value`, out of JSON, as `kind`: a frozen dataclass, a tuple of one kind, a union with None, or a plain type."""
    if is_dataclass(kind):
        return convert_object(kind, value, field)
    if get_origin(kind) in (Union, types.UnionType):
        [other] = [choice for choice in get_args(kind) if choice is not type(None)]
        return None if value is None else convert(other, value, field)
    if get_origin(kind) is tuple:
        demand(isinstance(value, list), field, "is not a list")
        return tuple(convert(get_args(kind)[0], item, f"{field}[{number}]") for number, item in enumerate(value))
    accepted = (int, float) if kind is float else (kind,)
    demand(type(value) in accepted, field, f"is not {NAMES[kind]}")
    if kind is float:
        demand(abs(value) < 1e15, field, "is not a number of this size")
        return value
    demand(kind is not str or is_text(value), field, "is not readable text")
    return value


def convert_object(kind: Any, value: Any, field: str) -> Any:
    demand(isinstance(value, dict), field or "record", "is not an object")
    lead = f"{field}." if field else ""
    names = [item.name for item in fields(kind)]
    for name in names:
        demand(name in value, lead + name, "is missing")
    for name in value:
        demand(name in names, lead + name, "is not known")
    hints = get_type_hints(kind)
    converted = {name: convert(hints[name], value[name], lead + name) for name in names}
    with under(lead):
        return kind(**converted)


@contextmanager
def under(lead: str) -> Iterator[None]:
    """Name the field of a FieldError with the path to it."""
    try:
        yield
    except FieldError as error:
        field, problem = error.args
        demand(False, lead + field, problem)


def demand(holds: bool, field: str, problem: str) -> None:
    if not holds:
        raise RecordError(f"the field {field} {problem}", REMEDY)


def is_text(value: str) -> bool:
    """Whether it has no half characters, which no terminal or page could show."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        double = next(name for number, (name, _) in enumerate(pairs) if name in [pair[0] for pair in pairs[:number]])
        demand(False, double, "stands there twice")
    return values


def refuse_constant(name: str) -> None:
    raise RecordError(f"it holds {name}, which is no number", REMEDY)
