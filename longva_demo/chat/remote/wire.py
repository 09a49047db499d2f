"""What is sent to a replica, and what comes back.

    POST /inference/v1/generate    X-Session-ID: the replica with this prefix; Authorization: Bearer KEY
    {model, token_ids: header + one place per item + turns, content_parts: the items, sampling_params, stream}
    → server-sent events: token ids, log-probabilities, usage with the number of cached tokens

An item is at most ITEM_FRAMES frames, or a picture. Its pixels are those that the model here would be given, so answers
are the same. A replica keeps them under the item's uuid, so that they are sent once.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from longva_demo.chat.engine import NewToken
from longva_demo.errors import BudgetError, DemoError, ModelError, one_line

GENERATE = "/inference/v1/generate"
ITEM_FRAMES = 16
PLACE = "<|endoftext|>"  # stands for one item in `token_ids`; a question never contains it
DONE = "[DONE]"
HOW_TO_START = "docs/scale.md has the command"


class EngineLost(Exception):
    """A replica, or the connection to it, failed in a way that another try may mend. `is_busy`: it refused for now."""

    def __init__(self, what: str, is_busy: bool = False) -> None:
        super().__init__(what)
        self.is_busy = is_busy


class ItemsMissing(Exception):
    """The replica no longer has an item of which only the uuid was sent."""


@dataclass(frozen=True)
class Item:
    """`count` frames of a video from position `first` on, or the picture at that position. `uuid` is a hash of the
    pixels."""

    kind: str  # "video" or "image"
    uuid: str
    first: int = 0
    count: int = 1

    def part(self, data: bytes | None) -> dict[str, Any]:
        """For `content_parts`; without `data`, the replica is expected to have it."""
        mime = "video/x-longva" if self.kind == "video" else "image/png"
        url = None if data is None else f"data:{mime};base64,{base64.b64encode(data).decode()}"
        return {"type": f"{self.kind}_url", "url": url, "uuid": self.uuid}


def frames_item(pixels: np.ndarray, first: int) -> Item:
    """The item of frames, uint8 (frames, S, S, 3)."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Item("video", digest.hexdigest(), first, len(pixels))


def frames_data(pixels: np.ndarray) -> bytes:
    """Frames, uint8 (frames, S, S, 3), as a .npy file."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(pixels))
    return file.getvalue()


def picture_item(slots: np.ndarray, position: int) -> Item:
    """The item of a picture, uint8 (1 + grids, S, S, 3) with the base first; `position` among those of the chat."""
    digest = hashlib.sha256(repr(slots.shape).encode())
    digest.update(np.ascontiguousarray(slots).data)
    return Item("image", digest.hexdigest(), position)


def picture_data(slots: np.ndarray, columns: int) -> bytes:
    """A picture's grids, uint8 (1 + grids, S, S, 3), joined to the picture of which UniRes makes just these, as PNG."""
    grids = slots[1:]
    rows, side = len(grids) // columns, grids.shape[1]
    canvas = grids.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG", compress_level=1)
    return file.getvalue()


def request_body(
    model: str,
    token_ids: Sequence[int],
    parts: Sequence[Mapping[str, Any]],
    sampling_params: Mapping[str, Any],
    salt: str = "",
) -> bytes:
    """`salt` keeps a prompt apart from equal ones in the prefix cache."""
    body: dict[str, Any] = {
        "model": model,
        "token_ids": list(token_ids),
        "sampling_params": dict(sampling_params),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if parts:
        body["content_parts"] = list(parts)
    if salt:
        body["cache_salt"] = salt
    return json.dumps(body).encode()


@dataclass
class Usage:
    """How long a prompt was, and how much of it the replica had in its prefix cache; None if it does not say."""

    prompt_tokens: int = 0
    cached_tokens: int | None = None


def read_events(events: Iterator[str], usage: Usage) -> Iterator[NewToken]:
    """The tokens in a stream of server-sent events; `usage` is filled in at its end.

    Raises:
        EngineLost, ItemsMissing, DemoError: the stream holds an error, or ends too early.
    """
    for data in events:
        if data == DONE:
            return
        chunk = parse(data)
        if "error" in chunk:  # after a status of 200, since the stream had begun
            error = chunk["error"] if isinstance(chunk["error"], dict) else {"message": chunk["error"]}
            raise refusal(int(error.get("code") or 500), str(error.get("message", "")))
        if found := chunk.get("usage"):
            usage.prompt_tokens = int(found["prompt_tokens"])
            usage.cached_tokens = (found.get("prompt_tokens_details") or {}).get("cached_tokens")
        for choice in chunk.get("choices") or ():
            if choice.get("finish_reason") in ("abort", "error"):
                raise EngineLost(f"finish_reason {choice['finish_reason']}")
            ids = choice.get("token_ids") or []
            entries = (choice.get("logprobs") or {}).get("content") or [{"logprob": 0.0}] * len(ids)
            for token, entry in zip(ids, entries, strict=True):
                yield NewToken(int(token), float(entry["logprob"]))
    raise EngineLost("the stream broke off")


def parse(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError:
        raise EngineLost("the stream holds something that is not JSON") from None
    return chunk if isinstance(chunk, dict) else {}


def refusal(status: int, message: str) -> Exception:
    """What an error of a replica or of the router means here."""
    if "Cache miss" in message:
        return ItemsMissing()
    if "maximum model length" in message or "maximum context length" in message:
        return BudgetError("the engine's context is full", "set a smaller budget, or clear the chat", 0)
    if status >= 500 or status in (408, 429):
        return EngineLost(f"HTTP {status}", is_busy=status in (429, 503))
    return refused(status, message)


def refused(status: int, message: str) -> DemoError:
    """An error that another try would not mend."""
    if status == 400 and re.search("grammar|schema", message, re.IGNORECASE):  # of structured_outputs
        reason = one_line(" ".join(message.split()))[:160]
        return DemoError(f"the engine does not support the JSON schema ({reason})", "use a simpler one")
    if status == 400 and "not a multimodal model" in message:
        return ModelError("the engine runs without the plugin longva_vllm", HOW_TO_START)
    if status in (401, 403):
        return ModelError("the engine refuses the key", "set LONGVA_ENGINE_KEY to the --api-key of its replicas")
    if status == 404 and "model" in message:
        return ModelError("a replica of the engine serves another model", "start all with the same --served-model-name")
    if status == 404:
        return ModelError(f"the engine has no {GENERATE}", "start vLLM with --enable-scale-out")
    detail = one_line(" ".join(message.split()))[:160]
    return ModelError(f"the engine refuses the request ({status}: {detail})", "its log says more")


def message_of(body: bytes) -> str:
    """The message in the body of an error."""
    text = body.decode("utf-8", "replace")
    try:
        values = json.loads(text)
    except ValueError:
        return text
    error = values.get("error", values) if isinstance(values, dict) else values
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
