"""Answers in the form of /v1/responses. Nothing is stored."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from longva_demo.chat import Progress
from longva_demo.server.conversations import Answered
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.facts import finish_reason, longva_facts, prompt_tokens
from longva_demo.server.openai.schema import ResponsesRequest

IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED = "in_progress", "completed", "incomplete", "failed"


class ResponseReply:
    """One answer, whole or as server-sent events."""

    shows_progress = False

    def __init__(self, request: ResponsesRequest, model_id: str) -> None:
        self._request = request
        self._item_id = f"msg_{secrets.token_hex(12)}"
        self._num_events = 0
        sampling = request.sampling(1)
        form = request.text.format if request.text is not None else None
        self._head = {
            "id": f"resp_{secrets.token_hex(12)}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model_id,
            "instructions": None,
            "max_output_tokens": request.max_output_tokens,
            "metadata": {},
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": sampling.temperature,
            "text": {"format": form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": sampling.top_p,
            "truncation": "disabled",
        }

    def whole(self, text: str, answered: Answered, is_stopped: bool) -> dict[str, Any]:
        is_cut = finish_reason(answered.turn, is_stopped) == "length"
        status = INCOMPLETE if is_cut else COMPLETED
        return {
            **self._response(status, [self._item(status, text)]),
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "usage": usage(answered),
            "longva": longva_facts(answered, self._request.longva.attribution),
        }

    def opening(self) -> Iterator[str]:
        yield self._event("response.created", response=self._response(IN_PROGRESS, []))
        yield self._event("response.in_progress", response=self._response(IN_PROGRESS, []))
        item = {**self._item(IN_PROGRESS, ""), "content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=output_text(""))

    def progress(self, progress: Progress) -> Iterator[str]:  # noqa: ARG002
        yield from ()

    def text(self, text: str) -> Iterator[str]:
        yield self._event("response.output_text.delta", **self._place, delta=text, logprobs=[])

    def closing(self, text: str, answered: Answered, is_stopped: bool) -> Iterator[str]:
        response = self.whole(text, answered, is_stopped)
        yield self._event("response.output_text.done", **self._place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **self._place, part=output_text(text))
        yield self._event("response.output_item.done", output_index=0, item=response["output"][0])
        yield self._event(f"response.{response['status']}", response=response)

    def failure(self, error: ApiError) -> Iterator[str]:
        failed = self._response(FAILED, []) | {"error": {"code": "server_error", "message": error.message}}
        yield self._event("response.failed", response=failed)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _item(self, status: str, text: str) -> dict[str, Any]:
        content = [output_text(text)]
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "status": status, "output": output, "error": None, "incomplete_details": None}

    def _event(self, kind: str, **values: Any) -> str:
        event = {"type": kind, "sequence_number": self._num_events, **values}
        self._num_events += 1
        return f"event: {kind}\ndata: {json.dumps(event)}\n\n"


def output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage(answered: Answered) -> dict[str, Any]:
    prompt, new = prompt_tokens(answered)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": answered.num_cached},
        "output_tokens": new,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + new,
    }
