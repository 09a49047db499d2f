"""What an engine elsewhere has to show before the page starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx
import numpy as np

from longva_demo.chat.remote.transport import Transport
from longva_demo.chat.remote.wire import (
    GENERATE,
    HOW_TO_START,
    EngineLost,
    ItemsMissing,
    Usage,
    frames_data,
    frames_item,
    read_events,
    refused,
    request_body,
)
from longva_demo.errors import ModelError
from longva_demo.model import LongVAProcessor

START_SECONDS = 10.0


@dataclass(frozen=True)
class Card:
    """What `/v1/models` says of the model: its served name, ID or ID@REVISION, and its context in tokens."""

    served: str
    max_model_len: int

    @classmethod
    def of(cls, values: Any) -> Self:
        return cls(str(values["id"]), int(values["max_model_len"]))

    @property
    def model_id(self) -> str:
        return self.served.partition("@")[0]

    @property
    def revision(self) -> str:
        return self.served.partition("@")[2]


def read_card(transport: Transport) -> Card:
    """Raises ModelError: nothing answers, the key is wrong, or it is not vLLM."""
    try:
        status, values = transport.start(transport.get("/v1/models", START_SECONDS)).result()
    except httpx.HTTPError as error:
        what = f"no engine answers at {transport.base} ({type(error).__name__})"
        raise ModelError(what, "start it, or check the address") from None
    if status in (401, 403):
        raise refused(status, "")
    try:
        [card, *_] = values["data"]
        return Card.of(card)
    except (LookupError, TypeError, ValueError):
        what = f"{transport.base} is not vLLM or vllm-router (/v1/models answers with HTTP {status})"
        raise ModelError(what, HOW_TO_START) from None


def check_plugin(
    transport: Transport, served: str, header: Sequence[int], place: int, processor: LongVAProcessor
) -> None:
    """Have one black frame read and two given tokens chosen, which only a replica with the plugin does.

    Raises:
        ModelError: it does not, or the frame is not as many tokens as here: another model.
    """
    side = processor.image_size
    frame = np.zeros((1, side, side, 3), np.uint8)
    parts = [frames_item(frame, 0).part(frames_data(frame))]
    forced = [header[0], header[-1]]
    params = {
        "temperature": 0.0,
        "max_tokens": len(forced),
        "logprobs": 0,
        "detokenize": False,
        "ignore_eos": True,
        "extra_args": {"forced_ids": forced},
    }
    body, usage = request_body(served, [*header, place], parts, params), Usage()
    try:
        events = transport.stream(GENERATE, body, {}, lambda: False)
        tokens = [token.id for token in read_events(events, usage)]
    except (EngineLost, ItemsMissing) as error:
        raise ModelError(f"the engine at {transport.base} cannot answer ({error})", "its log says more") from None
    if tokens != forced:
        raise ModelError(f"the engine at {transport.base} runs without the plugin longva_vllm", HOW_TO_START)
    expected = len(header) + processor.video_processor.num_tokens(1)
    if usage.prompt_tokens != expected:
        what = f"a frame is {usage.prompt_tokens - len(header)} tokens there, and {expected - len(header)} here"
        raise ModelError(f"the engine at {transport.base} has another model: {what}", "use the --model that it serves")
