"""Errors for users: what is wrong, with the value, and what to do about it."""

import re


class DemoError(Exception):
    """A problem that the user can fix. `str(error)` is one line: "message; remedy"."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


class VideoError(DemoError):
    """A video or picture that cannot be read, or that exceeds a limit."""


class ModelError(DemoError):
    """A model that cannot be found, downloaded, loaded or run."""


class BudgetError(DemoError):
    """More frames than fit into the context or memory. `largest_budget` is the number of frames that fit."""

    def __init__(self, message: str, remedy: str, largest_budget: int) -> None:
        super().__init__(message, remedy)
        self.largest_budget = largest_budget


class ContextError(DemoError):
    """A conversation that leaves too little of the model's context for an answer."""


def short(value: object) -> str:
    """The value's repr, cut to a length that fits into an error message.

    >>> short("1:30"), short(10**60)
    ("'1:30'", '1000000000000000000000000000000000000…')
    """
    text = repr(value)
    return text if len(text) <= 38 else f"{text[:37]}…"


def one_line(text: str) -> str:
    """Replace control characters with spaces: the content or name of a file must not control the terminal.

    Letters of all scripts are kept, and so are surrogates (bytes that are not UTF-8): the stream replaces those.

    >>> one_line("a\\x1b[31m red\\nname")
    'a [31m red name'
    """
    kept = (letter if letter.isprintable() or "\ud800" <= letter <= "\udfff" else " " for letter in text)
    return "".join(kept).strip()


def replace_surrogates(text: str) -> str:
    """Replace surrogates with U+FFFD: bytes of a file name that are not UTF-8, or half a character from a browser.

    >>> replace_surrogates("caf\\udce9.mp4")
    'caf\ufffd.mp4'
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
