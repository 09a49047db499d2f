"""All requests: how many at once, for which client, and what happens if a route fails."""

import asyncio
import logging

from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longva_demo.quotas import CLIENT, Quota, QuotaError, client_of
from longva_demo.telemetry import HEALTH

log = logging.getLogger(__name__)
OPENAI, MCP = "/v1", "/mcp"
# A client that is refused waits, so that one that repeats its request at once cannot keep the server busy.
REFUSED, REFUSAL_SECONDS = (408, 413, 429, 507), 1.0


def limit_requests(quota: Quota) -> Middleware:
    """The outermost middleware."""
    return Middleware(Requests, quota=quota)


class Requests:
    """Counts the running requests of each client, and names the client for what they do.

    It answers if a route fails, and delays refusals.
    """

    def __init__(self, app: ASGIApp, quota: Quota) -> None:
        self._app = app
        self._quota = quota

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_of(scope) == HEALTH:
            await self._app(scope, receive, send)
            return
        client, has_started = client_of(scope), False
        CLIENT.set(client)

        async def send_once(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start" and message["status"] in REFUSED:
                await asyncio.sleep(REFUSAL_SECONDS)
            has_started = True
            await send(message)

        try:
            with self._quota.hold(client):
                await self._app(scope, receive, send_once)
        except QuotaError as error:
            await refusal(429, str(error))(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            # Its text may contain what the client sent.
            log.error("a route failed", exc_info=error)
            if has_started:
                raise
            await refusal(500, "the server failed to answer this request; try again later")(scope, receive, send)


def route_of(scope: Scope) -> str:
    """The path of a request as the routes see it, without a slash at its end; "" if it is not an HTTP request."""
    if scope["type"] != "http":
        return ""
    return str(scope["path"]).removeprefix(scope.get("root_path", "")).rstrip("/")


def is_openai(scope: Scope) -> bool:
    """Whether this is a request of the OpenAI-compatible API."""
    return f"{route_of(scope)}/".startswith(f"{OPENAI}/")


def is_program(scope: Scope) -> bool:
    """Whether this is a request of that API, or of MCP: of a program, which has a key rather than a cookie."""
    return is_openai(scope) or route_of(scope) == MCP


def refusal(status: int, text: str) -> PlainTextResponse:
    """An error after which the server closes the connection, without reading the rest of the request."""
    return PlainTextResponse(text, status, {"Connection": "close"})
