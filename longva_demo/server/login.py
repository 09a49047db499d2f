"""In place of Gradio's log-in page: one in the page's own style and language."""

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from longva_demo.page.login import login_page
from longva_demo.server.first_visit import is_page


def show_login() -> Middleware:
    """Middleware that answers requests for the page until the visitor has logged in. Gradio checks all others."""
    return Middleware(ShowLogin)


class ShowLogin:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_page(scope) or is_logged_in(Request(scope)):
            await self.app(scope, receive, send)
            return
        page = login_page(Request(scope).headers.get("accept-language", ""))
        await HTMLResponse(page, headers={"Cache-Control": "no-store"})(scope, receive, send)


def is_logged_in(request: Request) -> bool:
    """Whether a cookie has a token of Gradio, which sets one for HTTPS and one for HTTP."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(request.cookies.get(name) in app.tokens for name in names)
