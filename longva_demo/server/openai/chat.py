"""Answers in the form of /v1/chat/completions."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from longva_demo.chat import Progress
from longva_demo.server.conversations import Answered
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.facts import finish_reason, longva_facts, prompt_tokens
from longva_demo.server.openai.schema import ChatRequest

DONE = "data: [DONE]\n\n"


class ChatReply:
    """One answer, whole or as server-sent events."""

    def __init__(self, request: ChatRequest, model_id: str) -> None:
        self._request = request
        self._with_usage = bool(request.stream_options and request.stream_options.include_usage)
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_id}
        self._started = time.perf_counter()
        self.shows_progress = bool(request.return_progress)

    def whole(self, text: str, answered: Answered, is_stopped: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        reason = finish_reason(answered.turn, is_stopped)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage(answered),
            "longva": longva_facts(answered, self._request.longva.attribution),
        }

    def opening(self) -> Iterator[str]:
        yield self._chunk({"role": "assistant", "content": ""})

    def progress(self, progress: Progress) -> Iterator[str]:
        """For a client that asks for it as llama.cpp's page does; the units are frames."""
        if self.shows_progress:
            passed_ms = round(1000 * (time.perf_counter() - self._started))
            facts = {"total": progress.total, "cache": 0, "processed": progress.done, "time_ms": passed_ms}
            yield self._chunk({}, prompt_progress=facts)

    def text(self, text: str) -> Iterator[str]:
        yield self._chunk({"content": text})

    def closing(self, text: str, answered: Answered, is_stopped: bool) -> Iterator[str]:  # noqa: ARG002
        facts = longva_facts(answered, self._request.longva.attribution)
        yield self._chunk({}, finish_reason(answered.turn, is_stopped), longva=facts)
        if self._with_usage:
            yield self._event({"choices": [], "usage": usage(answered)})
        yield DONE

    def failure(self, error: ApiError) -> Iterator[str]:
        yield f"data: {json.dumps(error.body)}\n\n"
        yield DONE

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._event({"choices": [choice], **({"usage": None} if self._with_usage else {}), **more})

    def _event(self, values: dict[str, Any]) -> str:
        return f"data: {json.dumps({**self._head, 'object': 'chat.completion.chunk', **values})}\n\n"


def usage(answered: Answered) -> dict[str, Any]:
    prompt, new = prompt_tokens(answered)
    details = {"cached_tokens": answered.num_cached}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": details,
    }
