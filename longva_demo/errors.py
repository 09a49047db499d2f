"""Errors that a user may see: what is wrong, with the value, and what to do about it."""

import re


class DemoError(Exception):
    """A problem that the user can act on. `str(error)` is the one line to show: "message; remedy"."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


class VideoError(DemoError):
    """A video or picture that cannot be read, or not within the limits set."""


class ModelError(DemoError):
    """A model that cannot be found, downloaded, loaded or run."""


class BudgetError(DemoError):
    """More frames than the context or the memory holds. `largest_budget` is the most that fits, in frames."""

    def __init__(self, message: str, remedy: str, largest_budget: int) -> None:
        super().__init__(message, remedy)
        self.largest_budget = largest_budget


def short(value: object) -> str:
    """A value as it stands in such a line, which must stay one that can be read.

    >>> short("1:30"), short(10**60)
    ("'1:30'", '1000000000000000000000000000000000000…')
    """
    text = repr(value)
    return text if len(text) <= 38 else f"{text[:37]}…"


def one_line(text: str) -> str:
    """In one line and without control characters: what is in a file or its name must not steer a terminal.

    Letters of any writing stay, and so do bytes that are not UTF-8 (surrogates): the stream replaces those.

    >>> one_line("a\\x1b[31m red\\nname")
    'a [31m red name'
    """
    kept = (letter if letter.isprintable() or "\ud800" <= letter <= "\udfff" else " " for letter in text)
    return "".join(kept).strip()


def whole_letters(text: str) -> str:
    """U+FFFD for each byte of a name that is not UTF-8, which Python holds as a surrogate that no file takes.

    >>> whole_letters("caf\\udce9.mp4")
    'caf\ufffd.mp4'
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
