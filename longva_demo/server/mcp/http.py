"""/mcp: the tools on the page's port, for agents elsewhere."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import BaseRoute, Route

from longva_demo.quotas import CLIENT, client_of
from longva_demo.server.bodies import MAX_OTHER_BYTES
from longva_demo.server.conversations import Conversations
from longva_demo.server.mcp.tools import Tools
from longva_demo.server.openai.bodies import FILES
from longva_demo.server.openai.files import ReceivedFiles
from longva_demo.server.rate_limit import CALLER, address_name
from longva_demo.server.requests import MCP

VIDEOS = "Send a video as a data: URL with base64."
IDLE_SECONDS = 900.0  # of a session that no request uses
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def mcp_app(conversations: Conversations, received: ReceivedFiles) -> tuple[list[BaseRoute], Lifespan]:
    """The routes for the page's app, and what must run as long as it does.

    The gate (gate.py) checks the origin of requests, also behind a proxy, where the server's own name is not known.
    """

    @contextmanager
    def received_video(video: str, ctx: Context) -> Iterator[tuple[Path, str]]:
        """The file in the call, which is stored like those of the API. The call's own client is charged for it."""
        scope = ctx.request_context.request.scope  # type: ignore[union-attr]
        CLIENT.set(client_of(scope))
        CALLER.set((address_name(scope),))
        incoming = received.find(video, scope.get(FILES, {}), "video")
        path = received.path_of(incoming.sha256)
        with conversations.files_in_use.using(path):
            received.adopt(incoming)
            yield path, incoming.sha256

    tools = Tools(conversations.settings, lambda: conversations, received_video, VIDEOS)
    inner = tools.server.streamable_http_app(
        streamable_http_path=MCP,
        max_request_body_size=MAX_OTHER_BYTES,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with inner.router.lifespan_context(inner):
            yield

    [route] = inner.routes
    assert isinstance(route, Route)
    return [Route(MCP, route.endpoint, methods=["GET", "POST", "DELETE"])], lifespan
