"""A stale tab, whose page this server no longer has, reloads itself without losing its chat or its question.

The server was restarted, or has closed the page. It would treat the tab as a new visitor, and the next answer would
replace the whole chat.
"""

import secrets
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# The page sends its server and its session; other clients do not.
SERVER_HEADER, SESSION_HEADER = "x-longva-server", "x-longva-session"
SERVER = secrets.token_hex(8)  # this one


def page_constants() -> str:
    """JavaScript for the page's head, used by stale_tab.js."""
    return f'const server = "{SERVER}", serverHeader = "{SERVER_HEADER}", sessionHeader = "{SESSION_HEADER}";\n'


def refuse_stale_tabs(was_closed: Callable[[str], bool]) -> Middleware:
    """`was_closed` says whether this server has closed the page of a session."""
    return Middleware(StaleTabs, was_closed=was_closed)


class StaleTabs:
    """Middleware that refuses the events of stale tabs; stale_tab.js then reloads the page."""

    def __init__(self, app: ASGIApp, was_closed: Callable[[str], bool]) -> None:
        self._app = app
        self._was_closed = was_closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if headers.get(SERVER_HEADER, SERVER) != SERVER:
            await PlainTextResponse("the server was restarted; reload the page", 409)(scope, receive, send)
        elif self._was_closed(headers.get(SESSION_HEADER, "")):
            await PlainTextResponse("the server has closed this page; reload it", 410)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
