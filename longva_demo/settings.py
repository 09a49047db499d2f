"""One frozen `Settings`: the single declaration behind the flags, LONGVA_* variables and docs/configuration.md."""

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Self

from longva_demo.errors import DemoError, short

PREFIX = "LONGVA_"
MAX_PORT = 65535


def setting(
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    flag: str = "",
    metavar: str = "",
    secret: bool = False,
) -> Any:
    """A field of `Settings`. `flag` (default: its name) and `metavar` are for the commands that offer it.

    Numbers are above 0; a default of 0 is derived from the machine.
    """
    metadata = {"help": help, "choices": choices, "flag": flag, "metavar": metavar}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What can be chosen before the demo starts. Sizes are in bytes, times in seconds."""

    model: str = setting("auto", 'auto, "tiny" (the built-in model), a folder, or a Hub id', metavar="ID")
    quant: str = setting(
        "auto",
        "weight quantisation; 8bit (CPU only) takes about half of the memory, 4bit about 40%",
        ("auto", "none", "8bit", "4bit"),
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...")
    dtype: str = setting("auto", "floating-point type of the weights", ("auto", "float32", "bfloat16", "float16"))
    attention: str = setting(
        "auto",
        "attention implementation; flash_kernel downloads one from the Hub, with the package kernels",
        ("auto", "flash_attention_2", "flash_kernel", "sdpa"),
    )
    speech_model: str = setting(
        "tiny.en", "speech recognition: tiny.en (English), small, large-v3-turbo, or a folder", metavar="ID"
    )
    engine: str = setting(
        "", "address of vLLM with the plugin longva_vllm, or of its router; empty: the model runs here", metavar="URL"
    )
    engine_key: str = setting("", "key of that engine, sent as Authorization: Bearer KEY", secret=True)
    decoder: str = setting("pyav", "video decoder; pyav gives the exact frames", ("pyav", "decord"))
    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 for all interfaces", metavar="ADDRESS")
    port: int = setting(7860, "port to listen on")
    root_path: str = setting("", "path below which a proxy serves the page, such as /longva", metavar="PATH")
    log: str = setting(
        "questions", "log one line per event, add the texts, or log nothing", ("questions", "texts", "nothing")
    )
    user: str = setting("longva", "user name for the log-in, if a password is set")
    password: str = setting("", "password for the page and the API; empty: open to everybody", secret=True)
    openai_api: str = setting(
        "auto", "serve the OpenAI-compatible API at /v1; auto: except on a Space", ("auto", "on", "off")
    )
    mcp: str = setting(
        "auto",
        "serve MCP at /mcp; auto: if the package mcp is installed, except on a Space",
        ("auto", "on", "off"),
    )
    api_key: str = setting(
        "", "key for /v1 and /mcp, sent as Authorization: Bearer KEY; empty: as open as the page", secret=True
    )
    metrics_token: str = setting(
        "", "token for /metrics, sent as Authorization: Bearer TOKEN; empty: as open as the page", secret=True
    )
    trusted_proxies: str = setting(
        "",
        "addresses or networks of proxies, separated by commas, whose X-Forwarded-For is trusted; empty: this machine",
        metavar="ADDRESSES",
    )
    fetch_hosts: str = setting("", "hosts that API clients may name files on, separated by commas; empty: uploads only")
    num_frames: int = setting(32, "number of frames to sample", flag="--frames", metavar="N")
    max_frames: int = setting(2000, "largest number of frames on the page")
    max_new_tokens: int = setting(256, "maximum length of an answer, in tokens", metavar="N")
    max_questions_per_minute: int = setting(60, "questions per minute, for each page and each address")
    max_events_per_minute: int = setting(
        600, "events of any kind per minute, for each page and each address; a click is several events"
    )
    max_connections: int = setting(1000, "connections at a time; at most half of the process's open files")
    max_client_memory_bytes: int = setting(
        0, "memory for requests, pages and unread answers, in bytes; 0: a quarter of the memory of machine or container"
    )
    address_share: float = setting(
        0.25, "share of every limit that one address can use; 1 if all visitors come from the same address"
    )
    max_video_seconds: float = setting(6 * 3600.0, "maximum duration of a video, in seconds")
    max_file_bytes: int = setting(4 * 1024**3, "maximum size of one file, in bytes")
    max_storage_bytes: int = setting(20 * 1024**3, "maximum size of all uploads, with frames and previews, in bytes")
    decode_timeout_seconds: float = setting(600.0, "time limit for decoding one video, in seconds")
    decode_memory_bytes: int = setting(4 * 1024**3, "memory limit of the decoding process, in bytes")

    def __post_init__(self) -> None:
        for one in fields(self):
            value, choices = getattr(self, one.name), one.metadata["choices"]
            if choices and value not in choices:
                raise DemoError(f"{short(value)} is not a valid {one.name}", f"use one of {', '.join(choices)}")
            if not isinstance(value, str) and not (value > 0 or value == one.default):
                raise DemoError(f"{value} is not a valid {one.name}", "use a number above 0")
        if self.address_share > 1:
            raise DemoError(f"{self.address_share} is not a valid address_share", "use a number up to 1")
        if self.root_path and not self.root_path.startswith("/"):
            raise DemoError(f"{short(self.root_path)} is not a valid root_path", "start it with a slash, as in /longva")
        if self.port > MAX_PORT:
            raise DemoError(f"{self.port} is not a valid port", f"use a number from 1 to {MAX_PORT}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **flags: Any) -> Self:
        """Read LONGVA_MODEL, LONGVA_PORT and so on. Flags that are not None take precedence.

        Raises:
            DemoError: an unknown LONGVA_* name, a value that is not a number, or one outside its choices.
        """
        environment = os.environ if environment is None else environment
        known = {variable_of(one): one for one in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in environment.items():
            if not name.startswith(PREFIX):
                continue
            if name not in known:
                raise DemoError(f"{name} is not a known variable", f"use one of {', '.join(sorted(known))}")
            one = known[name]
            convert: Any = type(one.default)
            try:
                values[one.name] = convert(text)
            except ValueError:
                kind = "a whole number" if isinstance(one.default, int) else "a number"
                raise DemoError(f"{short(text)} is not a valid {name}", f"use {kind}") from None
        values.update({name: value for name, value in flags.items() if value is not None})
        return replace(cls(), **values)


SETTINGS: dict[str, Field[Any]] = {one.name: one for one in fields(Settings)}
CHOICES: dict[str, tuple[str, ...]] = {
    name: one.metadata["choices"] for name, one in SETTINGS.items() if one.metadata["choices"]
}


def variable_of(one: Field[Any]) -> str:
    """The environment variable of a setting.

    >>> variable_of(SETTINGS["max_frames"])
    'LONGVA_MAX_FRAMES'
    """
    return f"{PREFIX}{one.name.upper()}"


def flag_of(one: Field[Any]) -> str:
    """The flag of a setting, for the commands that offer it.

    >>> flag_of(SETTINGS["max_new_tokens"]), flag_of(SETTINGS["num_frames"])
    ('--max-new-tokens', '--frames')
    """
    return one.metadata["flag"] or f"--{one.name.replace('_', '-')}"
