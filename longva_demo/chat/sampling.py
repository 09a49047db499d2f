"""How the tokens of an answer are chosen."""

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Self

from longva_demo.errors import DemoError, short

MAX_NEW_TOKENS = 4096


@dataclass(frozen=True)
class Sampling:
    """How the tokens of an answer are chosen: temperature 0 takes the most likely one each time."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    json_schema: str = ""  # that the answer has to follow; "" for none (json_schema.py)

    def __post_init__(self) -> None:
        if not (is_number(self.temperature) and 0 <= self.temperature <= 2):
            raise DemoError(f"{short(self.temperature)} is not a valid temperature", "use 0 to 2")
        if not (is_number(self.top_p) and 0 < self.top_p <= 1):
            raise DemoError(f"{short(self.top_p)} is not a valid top-p", "use a number above 0, up to 1")
        if not (is_number(self.max_new_tokens) and 1 <= self.max_new_tokens <= MAX_NEW_TOKENS):
            raise DemoError(
                f"{short(self.max_new_tokens)} is not a valid number of new tokens", f"use 1 to {MAX_NEW_TOKENS}"
            )

    @classmethod
    def from_fields(cls, temperature: Any, top_p: Any, max_new_tokens: Any) -> Self:
        """From form fields of any type; raises DemoError as the constructor does."""
        return replace(cls(temperature, top_p, max_new_tokens), max_new_tokens=int(max_new_tokens))


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
