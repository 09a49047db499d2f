"""Values from files of users: read strictly, with errors of one line that name the field."""

import math
from typing import Any

from pydantic import BeforeValidator, ConfigDict, ValidationError

from longva_demo.errors import one_line

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def require(holds: bool, problem: str) -> None:
    """Raise ValueError, which a validator of pydantic reports as a problem of its field."""
    if not holds:
        raise ValueError(problem)


def check_time(value: Any) -> Any:
    """A time is a number of seconds or a text. Without this, an error would name a type of the union, not the field."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    require(value is None or isinstance(value, str) or is_number, "use seconds (90) or h:mm:ss")
    return value


TIME = BeforeValidator(check_time)


def first_problem(error: ValidationError) -> str:
    """The first problem as one line that names the field: "the field turns[0].answer is not valid (…)"."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"]).removeprefix(".")
    place = f"the field {one_line(path)[:80]}" if path else "the file"
    return f"{place} is not valid ({problem['msg'].removeprefix('Value error, ')})"
