"""One frozen `Settings`, made from command-line flags and LONGVA_* environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from longva_demo.errors import DemoError

CHOICES = {
    "quant": ("auto", "none", "4bit"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "attention": ("auto", "flash_attention_2", "sdpa"),
    "decoder": ("pyav", "decord"),
    "log": ("questions", "texts", "nothing"),
}


@dataclass(frozen=True)
class Settings:
    """What can be chosen before the demo starts. Sizes are in bytes, times in seconds."""

    model: str = "auto"
    quant: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    decoder: str = "pyav"
    host: str = "127.0.0.1"
    port: int = 7860
    log: str = "questions"
    user: str = "longva"
    password: str = field(default="", repr=False)  # none: the page is open to all who reach it
    fetch_hosts: str = ""  # host names, with commas between, that clients may name files of; none: uploads only
    num_frames: int = 32
    max_frames: int = 2000
    max_new_tokens: int = 256
    max_questions_per_minute: int = 60
    max_events_per_minute: int = 600  # looks, uploads, questions and all else; a click is a few of them
    max_video_seconds: float = 6 * 3600.0
    max_file_bytes: int = 4 * 1024**3
    max_storage_bytes: int = 20 * 1024**3
    decode_timeout_seconds: float = 600.0
    decode_memory_bytes: int = 4 * 1024**3

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise DemoError(f"{name} is {value!r}", f"use one of {', '.join(allowed)}")
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, str) and value <= 0:
                raise DemoError(f"{one.name} is {value}", "use a number above 0")
        if self.port > 65535:
            raise DemoError(f"port is {self.port}", "use a number from 1 to 65535")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **flags: Any) -> Self:
        """Read LONGVA_MODEL, LONGVA_PORT and so on; flags that are not None win over them.

        Raises:
            DemoError: an unknown LONGVA_* name, a value that is no number, or one outside its choices.
        """
        environment = os.environ if environment is None else environment
        known = {f"LONGVA_{one.name.upper()}": one for one in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in environment.items():
            if not name.startswith("LONGVA_"):
                continue
            if name not in known:
                raise DemoError(f"unknown environment variable {name}", f"use one of {', '.join(sorted(known))}")
            kind: Any = type(known[name].default)
            try:
                values[known[name].name] = kind(text)
            except ValueError:
                raise DemoError(f"{name} is {text!r}", f"give it a {kind.__name__}") from None
        values.update({name: value for name, value in flags.items() if value is not None})
        return replace(cls(), **values)
