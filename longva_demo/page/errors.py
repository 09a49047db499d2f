"""The one place on the page that catches errors: each becomes a toast of one line, and never a traceback."""

import functools
import html
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from longva_demo.errors import BudgetError, DemoError, ModelError, VideoError

log = logging.getLogger("longva_demo.page")

TITLES: dict[type[DemoError], str] = {
    BudgetError: "Too many frames",
    VideoError: "This file cannot be used",
    ModelError: "The model is in trouble",
}


def toast(error: Exception) -> gr.Error:
    """A Gradio error with the user's line. Gradio renders the text as HTML, and file names may stand in it."""
    if isinstance(error, DemoError):
        title = next((TITLES[kind] for kind in TITLES if isinstance(error, kind)), "That did not work")
        line = str(error)
    else:
        title = "Something went wrong here"
        line = f"an unexpected {type(error).__name__}; try again, or look at the server's log for the details"
        log.error("unexpected error in a handler", exc_info=error)
    # Without a time of its own: toasts.js closes it, ten seconds after the last one that came.
    return gr.Error(html.escape(line), duration=None, title=title, print_exception=False)


def streaming(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """For handlers that yield: what they yielded before an error stays on the page."""

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except Exception as error:
            raise toast(error) from None

    return wrapper


def plain(handler: Callable[..., Any]) -> Callable[..., Any]:
    """For handlers that return."""

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise toast(error) from None

    return wrapper
