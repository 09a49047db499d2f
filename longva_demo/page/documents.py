"""The documentation as web pages, where the server runs from a copy of the repository."""

import html
from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

DOCUMENTS = Path(__file__).parents[2] / "docs"  # absent where the package is installed
ROUTE = "/longva/docs"
SUFFIXES = (".md", ".png")
STYLE = """
:root { color-scheme: light dark; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif; }
img { max-width: 100%; background: #fff; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; border-bottom: 1px solid #8884; }
pre { overflow-x: auto; }
"""


def address_of(name: str, folder: Path = DOCUMENTS) -> str | None:
    """The path of a page on the server; None where there is no such page."""
    return f"{ROUTE}/{name}" if (folder / name).is_file() else None


def documents_route(folder: Path = DOCUMENTS) -> Route:
    """GET /longva/docs/NAME: a page or a picture."""
    files = {file.name: file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}")}

    async def send(request: Request) -> Response:
        file = files.get(request.path_params["name"])
        if file is None:
            return PlainTextResponse("there is no such page", 404)
        return HTMLResponse(as_page(file)) if file.suffix == ".md" else FileResponse(file)

    return Route(f"{ROUTE}/{{name}}", send)


@lru_cache(maxsize=32)
def as_page(file: Path) -> str:
    """A page of the repository, which may contain HTML."""
    text = file.read_text("utf-8")
    title = html.escape(text.splitlines()[0].lstrip("# "))
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>'
