"""Lines of what is said and written, for the prompt of one question.

They come from a stranger's file. Each is quoted, on a line of its own after its time, and special tokens in it
are text (`ChatTemplate.question`), so nothing in it can end the quotation or the turn.
"""

from collections.abc import Callable, Sequence

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


class ChatLines:
    """The lines that a chat may give to its model."""

    def __init__(self, lines: Sequence[Line]) -> None:
        """Raises DemoError if the packages for searching are missing."""
        self.index = LineIndex(lines)

    def fitting(self, question: str, max_tokens: int, count_tokens: Callable[[str], int]) -> tuple[Line, ...]:
        """Lines for a question, in their order: all of them if they are short, else those that fit best.

        Each comes with its neighbours, as far as `max_tokens` allow.
        """
        lines = self.index.lines
        costs = [count_tokens(quote(line)) + 1 for line in lines]
        left = max_tokens - sum(count_tokens(head) + 1 for head in HEADS.values())
        if sum(costs) <= left:
            return tuple(lines)
        chosen: set[int] = set()
        for best in self.index.best(question):
            near = range(max(0, best - NEIGHBOURS), min(len(lines), best + NEIGHBOURS + 1))
            new = [position for position in near if position not in chosen]
            cost = sum(costs[position] for position in new)
            if cost > left:
                break
            chosen.update(new)
            left -= cost
        return tuple(lines[position] for position in sorted(chosen))


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
