"""A page that was opened before the server was restarted loads itself anew, and loses neither its chat nor a question.

To the new server it would be an unknown visitor: with the next answer, all that was said before would be gone.
"""

import secrets
from pathlib import Path

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "x-longva-server"  # the page says which server it came from; other clients do not
SERVER = secrets.token_hex(8)  # this one
SCRIPT = Path(__file__).with_name("restart.js")


def script() -> str:
    """Runs in the page's head, before anything is asked for."""
    return f'const server = "{SERVER}", header = "{HEADER}";\n{SCRIPT.read_text("utf-8")}'


class Restarts:
    """Middleware that turns away events of pages of an earlier server; restart.js then loads the page anew."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(HEADER.encode(), SERVER.encode()) != SERVER.encode():
            await PlainTextResponse("the server was restarted; reload the page", 409)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


MIDDLEWARE = Middleware(Restarts)
