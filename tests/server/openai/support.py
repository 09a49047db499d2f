"""Requests of the API for several tests."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[3] / "examples"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def data_url(path: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def about(url: str, question: str, kind: str = "video_url") -> list[dict[str, Any]]:
    """Messages with one question about one file."""
    parts = [{"type": kind, kind: {"url": url}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


def events(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The data of server-sent events, without the last "[DONE]"."""
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
