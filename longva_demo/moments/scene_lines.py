"""What is said and written in a scene, for its title: given to a model that can read it, quoted beside that of another.

Lines come from a stranger's file: they are quoted, and stay text (see `chat.lines`).
"""

from collections.abc import Callable, Sequence

from longva_demo.chat.lines import first_lines, quote_all
from longva_demo.timed_text import Line

MAX_TOKENS = 500  # of the lines of one scene
MAX_QUOTED_CHARACTERS = 80
MIN_SHARE = 0.5


def lines_in(lines: Sequence[Line], start: float, end: float) -> list[Line]:
    """The lines of a scene. A line that crosses a cut belongs to the scene that has most of it.

    >>> lines = [Line(8.0, 11.0, "Good evening.", "speech"), Line(0.0, 60.0, "LIVE", "screen")]
    >>> [line.text for line in lines_in(lines, 0.0, 10.0)], [line.text for line in lines_in(lines, 10.0, 20.0)]
    (['Good evening.', 'LIVE'], ['LIVE'])
    """
    return [line for line in lines if is_part(line, start, end)]


def is_part(line: Line, start: float, end: float) -> bool:
    """Whether at least half of the line is in the scene, or it is there during at least half of the scene."""
    if line.start == line.end:
        return start <= line.start < end
    shared = min(line.end, end) - max(line.start, start)
    return shared > 0 and shared >= MIN_SHARE * min(line.end - line.start, end - start)


def before_question(lines: Sequence[Line], count_tokens: Callable[[str], int]) -> str:
    """The part of a prompt that precedes the question: the first lines, with at most MAX_TOKENS; "" without any."""
    given = first_lines(lines, MAX_TOKENS, count_tokens)
    return f"{quote_all(given)}\n" if given else ""


def beside_title(lines: Sequence[Line]) -> str:
    """A quotation to follow a title, with the space before it; "" without any lines.

    >>> beside_title([Line(8.0, 11.0, 'He said "good evening".', "speech")])
    ' “He said "good evening".”'
    """
    said = " ".join(dict.fromkeys(line.text for line in lines))
    return f" “{shorten(said, MAX_QUOTED_CHARACTERS)}”" if said else ""


def shorten(text: str, max_characters: int) -> str:
    """
    >>> shorten("one two three", 9)
    'one two…'
    """
    return text if len(text) <= max_characters else f"{text[:max_characters].rsplit(' ', 1)[0]}…"
