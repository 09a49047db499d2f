"""The HTTP server: the app, its API, limits and uploads. The engine is passed in; importing it loads no weights."""

from longva_demo.server.app import build_app
from longva_demo.server.serve import serve_page

__all__ = ["build_app", "serve_page"]
