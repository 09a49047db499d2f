"""Values from files of users: read strictly, with errors of one line that name the field."""

from pydantic import ConfigDict, ValidationError

from longva_demo.errors import one_line

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def require(holds: bool, problem: str) -> None:
    """Raise ValueError, which a validator of pydantic reports as a problem of its field."""
    if not holds:
        raise ValueError(problem)


def first_problem(error: ValidationError) -> str:
    """The first problem as one line that names the field: "the field turns[0].answer is not valid (…)"."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"]).removeprefix(".")
    place = f"the field {one_line(path)[:80]}" if path else "the file"
    return f"{place} is not valid ({problem['msg'].removeprefix('Value error, ')})"
