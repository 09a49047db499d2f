"""The gate: which requests are answered at all. It decides before a body is read, and adds the security headers.

With a password, only visitors who are logged in pass. Pages of other sites never do, and no request makes the server
fetch an address.
"""

import os
import re
import secrets

from gradio import routes
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longva_demo.page.login import login_page
from longva_demo.quotas import QuotaError
from longva_demo.server.bodies import LOGIN
from longva_demo.server.first_visit import is_page
from longva_demo.server.rate_limit import RateLimit, address_name
from longva_demo.server.requests import is_program, route_of
from longva_demo.telemetry import HEALTH, METRICS

# These change nothing on the server.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LOGOUT = "/logout"
MAX_WRONG_KEYS = 30  # per minute and IP address; then no key is accepted
WRONG_KEY = "the API key is wrong or missing; send Authorization: Bearer KEY with the key of this server"
NO_KEY = "this server has a password; log in on its page, or set LONGVA_API_KEY on the server for other programs"
# Gradio requests it while it launches. It starts the queue, once, and tells nothing.
STARTUP = "/gradio_api/startup-events"
# Routes of Gradio that fetch an address for whoever asks: /file=, /file/ and /proxy=.
FETCHING = re.compile(r"[/=]\s*https?:|/proxy=", re.IGNORECASE)
HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
DOCUMENTS = ("text/html", "image/svg+xml")  # what can run scripts
# Gradio's page has inline scripts; its HTML components compile theirs, and import modules that they make.
CONTENT_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
# A Space is shown inside a page of the Hub.
FRAMES_OF_SPACE = "'self' https://huggingface.co https://*.hf.space"


def guard(password: str, metrics_token: str, api_key: str = "") -> Middleware:
    """The middleware. Also removes Gradio's CORS headers, which let any site read with a visitor's log-in.

    password: of the page and the API; empty if they are open.
    metrics_token: the bearer token for `/metrics`; empty for none.
    api_key: the bearer token for `/v1` and `/mcp`, in place of the password; empty for none.
    """
    routes.CustomCORSMiddleware = NoCors  # type: ignore[misc, assignment]
    return Middleware(Gate, has_password=bool(password), metrics_token=metrics_token, api_key=api_key)


class NoCors:
    """In place of Gradio's middleware."""

    def __init__(self, app: ASGIApp, **_: object) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Gate:
    def __init__(self, app: ASGIApp, has_password: bool, metrics_token: str, api_key: str = "") -> None:
        self._app = app
        self._has_password = has_password
        self._metrics_token = metrics_token
        self._api_key = api_key
        self._wrong_keys = RateLimit(MAX_WRONG_KEYS, "wrong keys")
        self._content_policy = content_policy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith(DOCUMENTS):
                    headers.setdefault("Content-Security-Policy", self._content_policy)
            await send(message)

        answer = self._answer(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """The answer of the gate itself, or None if the request passes."""
        path = route_of(request.scope)
        if is_foreign(request):
            return PlainTextResponse("another site cannot send requests to this server; open its page itself", 403)
        if FETCHING.search(path):
            return PlainTextResponse("the server does not fetch files from URLs; upload the file itself", 403)
        if path == LOGOUT:
            return log_out(request)
        if path == METRICS:
            return None if self._may_read_metrics(request) else PlainTextResponse("a token or a log-in is needed", 401)
        if is_program(request.scope):
            return self._check_program(request)
        if not self._has_password or path in (HEALTH, LOGIN, STARTUP) or is_logged_in(request):
            return None
        if is_page(request.scope):
            page = login_page(request.headers.get("accept-language", ""))
            return HTMLResponse(page, headers={"Cache-Control": "no-store"})
        return PlainTextResponse("log in first", 401)

    def _check_program(self, request: Request) -> Response | None:
        """The same of a program's request: its key, or the log-in where there is no key, and the type of its body."""
        if self._api_key:
            try:
                self._wrong_keys.check(address_name(request.scope))
                if not has_token(request, self._api_key):
                    self._wrong_keys.count(address_name(request.scope))
                    return PlainTextResponse(WRONG_KEY, 401)
            except QuotaError as error:
                return PlainTextResponse(str(error), 429)
        elif self._has_password and not is_logged_in(request):
            return PlainTextResponse(NO_KEY, 401)
        if request.method == "POST" and not is_json(request):
            return PlainTextResponse("the body is not JSON; send Content-Type: application/json", 400)
        return None

    def _may_read_metrics(self, request: Request) -> bool:
        if is_logged_in(request) or not (self._has_password or self._metrics_token):
            return True
        return bool(self._metrics_token) and has_token(request, self._metrics_token)


def has_token(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "").encode()
    return secrets.compare_digest(given, f"Bearer {token}".encode())


def is_json(request: Request) -> bool:
    """Whether the body is declared as JSON. A form of another site cannot do that."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def is_foreign(request: Request) -> bool:
    """Whether a page of another site sends this request, other than by a link to a page of this server.

    Browsers say so in Sec-Fetch-Site; those that do not, and pages without TLS, name their origin. Other programs send
    neither. https://www.w3.org/TR/fetch-metadata/
    """
    headers, is_safe = request.headers, request.method in SAFE_METHODS
    site = headers.get("sec-fetch-site")
    if site is not None:
        is_link = is_safe and headers.get("sec-fetch-mode") == "navigate"
        return site not in ("same-origin", "none") and not is_link
    origin = headers.get("origin")
    if origin is None or is_safe:
        return False
    return origin.partition("://")[2] not in (headers.get("host"), headers.get("x-forwarded-host"))


def tokens_of(request: Request) -> list[str]:
    """The valid tokens in the cookies of Gradio, which sets one for HTTPS and one for HTTP."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return [token for name in names if (token := request.cookies.get(name, "")) in app.tokens]


def is_logged_in(request: Request) -> bool:
    return bool(tokens_of(request))


def log_out(request: Request) -> Response:
    """End one visitor's log-in. Gradio's own route ends those of everybody with the same user name, for a link."""
    if request.method != "POST":
        return PlainTextResponse("log out with a POST request", 405)
    for token in tokens_of(request):
        request.app.tokens.pop(token, None)
    return Response(status_code=204)


def content_policy() -> str:
    """The Content-Security-Policy of documents."""
    ancestors = FRAMES_OF_SPACE if os.environ.get("SPACE_ID") else "'self'"
    policy = CONTENT_POLICY | {"frame-ancestors": ancestors}
    return "; ".join(f"{name} {sources}" for name, sources in policy.items())
