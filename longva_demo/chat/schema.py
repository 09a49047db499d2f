"""Strict conversion of JSON to frozen dataclasses; an error is one line that names the field."""

import json
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from longva_demo.errors import DemoError

REMEDY = "save the chat again, or use an unchanged copy"
NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class RecordError(DemoError):
    """A file that is not a saved chat, or has been changed."""


class FieldError(Exception):
    """The name of an object's field, and the problem with it."""


def require(holds: bool, field: str, problem: str) -> None:
    """For `__post_init__` of the dataclasses: raises FieldError unless `holds`. `convert` adds the field's path."""
    if not holds:
        raise FieldError(field, problem)


def load_json(text: str) -> Any:
    """The values in `text`. Raises RecordError, also for a repeated key or NaN."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise RecordError("this is not JSON", "use the JSON file of a saved chat") from None


def convert(kind: Any, value: Any, field: str) -> Any:
    """`value`, from JSON, as `kind`: a frozen dataclass, a tuple of one type, a union with None, or a plain type."""
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
        demand(abs(value) < 1e15, field, "is too large")
        return value
    demand(kind is not str or is_text(value), field, "contains invalid Unicode")
    return value


def convert_object(kind: Any, value: Any, field: str) -> Any:
    demand(isinstance(value, dict), field or "record", "is not an object")
    prefix = f"{field}." if field else ""
    names = [item.name for item in fields(kind)]
    for name in names:
        demand(name in value, prefix + name, "is missing")
    for name in value:
        demand(name in names, prefix + name, "is unknown")
    hints = get_type_hints(kind)
    converted = {name: convert(hints[name], value[name], prefix + name) for name in names}
    with field_path(prefix):
        return kind(**converted)


@contextmanager
def field_path(prefix: str) -> Iterator[None]:
    """Turn a FieldError into a RecordError that names the field by its path."""
    try:
        yield
    except FieldError as error:
        field, problem = error.args
        demand(False, prefix + field, problem)


def demand(holds: bool, field: str, problem: str) -> None:
    if not holds:
        raise RecordError(f"the field {field} {problem}", REMEDY)


def is_text(value: str) -> bool:
    """Whether it has no lone surrogates, which no terminal or page can show."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        demand(name not in values, name, "is repeated")
        values[name] = value
    return values


def refuse_constant(name: str) -> None:
    raise RecordError(f"{name} is not a valid number", REMEDY)
