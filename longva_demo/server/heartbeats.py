"""Heartbeats: a browser that shows a page holds one request open, so that the server knows when it has gone."""

import re

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from longva_demo.page.sessions import MAX_NAME_CHARACTERS, Pages
from longva_demo.server.requests import route_of

HEARTBEAT = re.compile(rf"/gradio_api/heartbeat/([^/]{{1,{MAX_NAME_CHARACTERS}}})")


def observe_heartbeats(pages: Pages) -> Middleware:
    return Middleware(Heartbeats, pages=pages)


class Heartbeats:
    """Middleware that tells `pages` when a heartbeat begins and ends. Gradio's event "unload" can get lost."""

    def __init__(self, app: ASGIApp, pages: Pages) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = HEARTBEAT.fullmatch(route_of(scope))
        if found is None or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        self._pages.connect(found[1])
        try:
            await self._app(scope, receive, send)
        finally:
            await run_in_threadpool(self._pages.disconnect, found[1])
