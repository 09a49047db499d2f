"""Errors of handlers become toasts here: one line each, never a traceback."""

import functools
import html
import logging
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import gradio as gr

from longva_demo.errors import BudgetError, DemoError, ModelError, VideoError

log = logging.getLogger("longva_demo.page")
P = ParamSpec("P")
T = TypeVar("T")

TITLES: dict[type[DemoError], str] = {
    BudgetError: "Too many frames",
    VideoError: "This file cannot be used",
    ModelError: "Model error",
}


def toast(error: Exception) -> gr.Error:
    """A Gradio error with the message for the user. Gradio renders it as HTML, and it may contain file names."""
    if isinstance(error, DemoError):
        title = next((TITLES[kind] for kind in TITLES if isinstance(error, kind)), "Request failed")
        text = str(error)
    else:
        title = "Unexpected error"
        text = f"an unexpected {type(error).__name__} occurred; try again, or see the server's log"
        log.error("unexpected error in a handler", exc_info=error)
    # Without a duration: toasts.js closes it ten seconds after the newest one.
    return gr.Error(html.escape(text), duration=None, title=title, print_exception=False)


def streaming(handler: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """For handlers that yield. Updates before an error stay on the page."""

    @functools.wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        try:
            yield from handler(*args, **kwargs)
        except Exception as error:
            raise toast(error) from None

    return wrapper


def plain(handler: Callable[P, T]) -> Callable[P, T]:
    """For handlers that return."""

    @functools.wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise toast(error) from None

    return wrapper
