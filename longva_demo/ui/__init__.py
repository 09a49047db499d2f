"""The page: a video, the frames that were sampled, and a chat about them. The only user of Gradio.

Importing this loads no weights; the engine is handed in.
"""

from longva_demo.ui.layout import build_app
from longva_demo.ui.serve import serve_page

__all__ = ["build_app", "serve_page"]
