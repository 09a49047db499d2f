"""Less to load, and less to do: the page is compressed, and files of Gradio that cost without a use are replaced."""

import re
from importlib.resources import files
from pathlib import Path

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from longva_demo.server.requests import route_of

# The exports at the end of a built module: `export{a as n,b as t};`.
EXPORTS = re.compile(r"export\{((?:\w+ as \w+,?)+)\};?\s*$")
# Gradio's player loads ffmpeg.wasm, 32 MB, with every video, for the button "Trim", which this page does not show.
FFMPEG = "/static/ffmpeg/ffmpeg-core"
FFMPEG_STUB = "export default async () => ({ setLogger() {}, setProgress() {} });"

# Gradio's status tracker counts its seconds in every animation frame. The loading page's one is never told to end.
TIMER = re.compile(
    r"function (\w+)\(\)\{\w+(\(\(\)=>\{\w+\(\w+,\(performance\.now\(\)-\w+\(\w+\)\)/1e3\),\w+&&\1\(\)\})\)\}"
)
TIMER_MS = 100


def compress_page() -> Middleware:
    """Middleware that compresses the page itself. Gradio compresses its assets; streams must not wait for more."""
    return Middleware(CompressPage)


class CompressPage:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.compressed = GZipMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.compressed if is_page(scope) else self.app)(scope, receive, send)


def is_page(scope: Scope) -> bool:
    """Whether this is a request for the page itself."""
    return scope["type"] == "http" and not route_of(scope)


def replaced_assets() -> list[Route]:
    """Routes in place of ffmpeg.wasm, of hls.js, which Gradio's player imports for live streams, and of the tracker."""
    assets = Path(str(files("gradio"))) / "templates" / "frontend" / "assets"
    return [
        *(route for file in assets.glob("hls-*.js") if (route := replace_module(file))),
        *(route for file in assets.glob("statustracker-*.js") if (route := slow_down_timer(file))),
        script_at(f"{FFMPEG}.js", FFMPEG_STUB),
        script_at(f"{FFMPEG}.wasm", ""),
    ]


def replace_module(file: Path) -> Route | None:
    """A route with functions that return false, by the names that the module exports; None if it is built otherwise."""
    exports = EXPORTS.search(file.read_text("utf-8"))
    if exports is None:
        return None
    names = [export.split(" as ")[1] for export in exports[1].split(",") if export]
    script = f"const no = () => false; export {{ {', '.join(f'no as {name}' for name in names)} }};"
    return script_at(f"/assets/{file.name}", script)


def slow_down_timer(file: Path) -> Route | None:
    """A route with the status tracker, its timer at ten times a second; None if the module is built otherwise."""
    script, count = TIMER.subn(rf"function \1(){{setTimeout\2,{TIMER_MS})}}", file.read_text("utf-8"))
    return script_at(f"/assets/{file.name}", script) if count == 1 else None


def script_at(path: str, script: str) -> Route:
    async def send(_: Request) -> Response:
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    return Route(path, send, middleware=[Middleware(GZipMiddleware)])
