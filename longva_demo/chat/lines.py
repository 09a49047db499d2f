"""Lines of what is said and written, for the prompt of one question.

They come from a stranger's file. Each is quoted, on a line of its own after its time, and special tokens in it
are text (`ChatTemplate.question`), so nothing in it can end the quotation or the turn.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from longva_demo.timed_text import Line
from longva_demo.timed_text.search import LineIndex
from longva_demo.times import format_time

MAX_TOKENS = 2000
NEIGHBOURS = 1  # lines before and after one that fits
# As in the published evaluations with subtitles (Video-MME, and Video-RAG for text in the frames).
HEADS = {
    "subtitles": "This video's subtitles are listed below:",
    "speech": "This video's speech is listed below:",
    "screen": "The text shown in this video is listed below:",
}
BUILTIN_MODEL = "tiny"  # it reads only the questions that it was trained on
Count = Callable[[str], int]  # of the tokens of a text
Span = tuple[float, float]  # in seconds
WHOLE_VIDEO: Span = (0.0, math.inf)


@dataclass(frozen=True)
class LinesCost:
    """What lines add to a prompt. With `is_all`, all `count` of them, which take exactly `tokens`.

    Otherwise the question decides which of the `count` lines are added; they take at most `tokens`.
    """

    count: int
    tokens: int
    is_all: bool


class ChatLines:
    """The lines that a chat may give to its model."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)
        self._costs: dict[int, int] = {}  # tokens, by position

    def __reduce__(self) -> tuple[type[Self], tuple[list[Line]]]:
        return type(self), (self.lines,)  # without the index

    @cached_property
    def index(self) -> LineIndex:
        """Raises DemoError if the packages for searching are missing."""
        return LineIndex(self.lines)

    def fitting(
        self, question: str, max_tokens: int, count_tokens: Count, span: Span = WHOLE_VIDEO
    ) -> tuple[Line, ...]:
        """Lines within `span` for a question, in their order: all of them if they are short, else those that fit best.

        Each comes with its neighbours, as far as `max_tokens` allow.
        """
        inside, left = self._within(span), max_tokens - head_tokens(count_tokens)
        if self._are_short(inside, left, count_tokens):
            return tuple(self.lines[position] for position in inside)
        allowed, chosen = set(inside), set[int]()
        for best in self.index.best(question):
            near = range(best - NEIGHBOURS, best + NEIGHBOURS + 1) if best in allowed else ()
            new = [position for position in near if position in allowed and position not in chosen]
            cost = sum(self._cost(position, count_tokens) for position in new)
            if cost > left:
                break
            chosen.update(new)
            left -= cost
        return tuple(self.lines[position] for position in sorted(chosen))

    def cost(self, max_tokens: int, count_tokens: Count, span: Span = WHOLE_VIDEO) -> LinesCost | None:
        """What `fitting` adds to a prompt, before the question is known; None if there are no lines."""
        inside = self._within(span)
        if not inside or max_tokens <= 0:
            return None
        if self._are_short(inside, max_tokens - head_tokens(count_tokens), count_tokens):
            text = quote_all([self.lines[position] for position in inside])
            return LinesCost(len(inside), count_tokens(f"{text}\n"), is_all=True)
        return LinesCost(len(inside), max_tokens, is_all=False)

    def _within(self, span: Span) -> list[int]:
        start, end = span
        return [number for number, line in enumerate(self.lines) if line.end >= start and line.start <= end]

    def _are_short(self, positions: Iterable[int], max_tokens: int, count_tokens: Count) -> bool:
        for position in positions:
            max_tokens -= self._cost(position, count_tokens)
            if max_tokens < 0:
                return False
        return max_tokens >= 0

    def _cost(self, position: int, count_tokens: Count) -> int:
        if position not in self._costs:
            self._costs[position] = count_tokens(quote(self.lines[position])) + 1
        return self._costs[position]


class ChosenLines(ChatLines):
    """Lines that were chosen for a question before: it is given exactly those that are in the range.

    A saved chat may have more than any question was given; of these, the first MAX_TOKENS are given.
    """

    def fitting(
        self,
        question: str,  # noqa: ARG002
        max_tokens: int,  # noqa: ARG002
        count_tokens: Count,
        span: Span = WHOLE_VIDEO,
    ) -> tuple[Line, ...]:
        return first_lines([self.lines[position] for position in self._within(span)], MAX_TOKENS, count_tokens)


def first_lines(lines: Sequence[Line], max_tokens: int, count_tokens: Count) -> tuple[Line, ...]:
    """As many of the first lines as take at most `max_tokens` in a prompt, with their heads."""
    num_lines, left = 0, max_tokens - head_tokens(count_tokens)
    for line in lines:
        left -= count_tokens(quote(line)) + 1
        if left < 0:
            break
        num_lines += 1
    return tuple(lines[:num_lines])


def head_tokens(count_tokens: Count) -> int:
    return sum(count_tokens(head) + 1 for head in HEADS.values())


def quote(line: Line) -> str:
    """
    >>> quote(Line(62.0, 64.0, 'He said "no".', "speech"))
    '[1:02] "He said \\'no\\'."'
    """
    return f'[{format_time(line.start)}] "{" ".join(line.text.split()).replace(chr(34), chr(39))}"'


def quote_all(lines: Sequence[Line]) -> str:
    """The part of a prompt that precedes the question."""
    parts = []
    for source, head in HEADS.items():
        quoted = [quote(line) for line in lines if line.source == source]
        parts += [head, *quoted] if quoted else []
    return "\n".join(parts)
