"""The routes of the app."""

from collections.abc import Iterator, Sequence
from typing import Any

from gradio.routes import App

from longva_demo.chat import LocalEngine
from longva_demo.model import load
from longva_demo.server import build_app
from longva_demo.settings import Settings


def app_routes() -> list[Any]:
    """Gradio's and ours, those of included routers too."""
    settings = Settings(model="tiny")
    blocks = build_app(LocalEngine(load("tiny", device="cpu"), settings), settings)
    return list(flat(App.create_app(blocks, app_kwargs=blocks.options["app_kwargs"]).routes))


def flat(routes: Sequence[Any]) -> Iterator[Any]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from flat(route.original_router.routes)
        else:
            yield route
