"""HTTP around the page: the app, its API, limits, uploads. Importing it loads no weights; the engine is passed in."""

from longva_demo.server.app import build_app
from longva_demo.server.serve import serve_page

__all__ = ["build_app", "serve_page"]
