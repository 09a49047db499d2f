"""Errors in OpenAI's form, whoever raises them: {"error": {"message", "type", "param", "code"}}."""

import logging
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longva_demo.errors import BudgetError, ContextError, DemoError, ModelError, VideoError
from longva_demo.quotas import QuotaError
from longva_demo.server.requests import is_openai

log = logging.getLogger(__name__)
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {401: "invalid_api_key", 413: "request_too_large", 429: "rate_limit_exceeded"}


class ApiError(Exception):
    """A request that is refused. `param` names the field, such as messages[0].content; `code` is for programs."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.status = message, param, status
        self.code = code or CODES.get(status)

    @property
    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status)


def api_error(error: Exception) -> ApiError:
    """What the client is told about `error`. An unexpected one is logged, since its text may contain what was sent."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ModelError):
        return ApiError(str(error), status=500)
    if isinstance(error, BudgetError):
        return ApiError(str(error), "num_frames", "context_length_exceeded")
    if isinstance(error, ContextError):
        return ApiError(str(error), "messages", "context_length_exceeded")
    if isinstance(error, QuotaError):
        return ApiError(str(error), status=429)
    if isinstance(error, DemoError):
        return ApiError(str(error), "messages", "invalid_file" if isinstance(error, VideoError) else None)
    log.error("an API request failed", exc_info=error)
    return ApiError(f"an unexpected {type(error).__name__} occurred; try again, or see the server's log", status=500)


def json_errors() -> Middleware:
    """The outermost middleware: what others refuse in plain text has the API's form on its routes."""
    return Middleware(JsonErrors)


class JsonErrors:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_openai(scope):
            await self._app(scope, receive, send)
            return
        refused: Message | None = None
        text = bytearray()

        async def send_json(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                is_text = Headers(scope=message).get("content-type", "").startswith("text/plain")
                refused = message if message["status"] >= 400 and is_text else None
            if refused is None:
                await send(message)
            elif message["type"] == "http.response.body":
                text.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    error = ApiError(text.decode(), status=refused["status"])
                    kept = {
                        key: value for key, value in Headers(scope=refused).items() if not key.startswith("content-")
                    }
                    response = JSONResponse(error.body, error.status, kept)
                    await response(scope, receive, send)

        await self._app(scope, receive, send_json)
