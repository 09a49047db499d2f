"""A tab whose page is not on this server any more loads itself anew, and loses neither its chat nor a question.

The server was restarted, or has closed the page. It would take the tab for an unknown visitor: with the next answer,
all that was said before would be gone.
"""

import secrets
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# The page says which server it came from, and which session it is; other clients do not.
SERVER_HEADER, SESSION_HEADER = "x-longva-server", "x-longva-session"
SERVER = secrets.token_hex(8)  # this one


def page_constants() -> str:
    """JavaScript for the page's head, which stale_tab.js uses."""
    return f'const server = "{SERVER}", serverHeader = "{SERVER_HEADER}", sessionHeader = "{SESSION_HEADER}";\n'


def refuse_stale_tabs(was_closed: Callable[[str], bool]) -> Middleware:
    """For the page's app; `was_closed` tells of a session whether its page was closed here."""
    return Middleware(StaleTabs, was_closed=was_closed)


class StaleTabs:
    """Middleware that turns away events of pages that are not here any more; restart.js then loads the page anew."""

    def __init__(self, app: ASGIApp, was_closed: Callable[[str], bool]) -> None:
        self._app = app
        self._was_closed = was_closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if headers.get(SERVER_HEADER, SERVER) != SERVER:
            await PlainTextResponse("the server was restarted; reload the page", 409)(scope, receive, send)
        elif self._was_closed(headers.get(SESSION_HEADER, "")):
            await PlainTextResponse("the page was closed here; reload it", 410)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
