"""What the model is asked about each window, and which first tokens of its answer mean yes and no."""

from dataclasses import dataclass
from typing import Self

from longva_demo.chat import LocalEngine
from longva_demo.chat.prompt import is_blank
from longva_demo.errors import DemoError, replace_surrogates, short

# Each window has the question in its prompt.
MAX_CHARACTERS = 300
TINY = "tiny"
# The built-in model knows names of things with an article, and "Is there a red star?" better than "Do you see a red
# star?", to which it says yes too often where the colour or the shape is there in another thing.
DETERMINERS = {"a", "an", "any", "some", "one", "two", "three", "no"}
# As in LLaVA-NeXT's training data, which LongVA shares. The built-in model says yes or no without being told to.
SHORT_ANSWER = "Answer the question using a single word or phrase."
YES, NO = ("Yes", "yes", " Yes", " yes"), ("No", "no", " No", " no")


@dataclass(frozen=True)
class YesNoQuestion:
    """A question with its token ids, and the first tokens of the answers yes and no."""

    text: str
    ids: list[int]
    yes: tuple[int, ...]
    no: tuple[int, ...]

    @classmethod
    def about(cls, query: str, engine: LocalEngine) -> Self:
        """The question whether a window shows `query`, such as "a red star". A `query` that is a question is asked."""
        text = phrase(query, engine.model.id == TINY)
        ids = engine.template.question(text, first=True, has_frames=True)
        yes, no = (first_tokens(engine, words) for words in (YES, NO))
        return cls(text, ids, tuple(sorted(yes - no)), tuple(sorted(no - yes)))


def check_query(query: str) -> None:
    """Raises DemoError if it is empty or too long."""
    if is_blank(query.strip("?？.! ")):
        raise DemoError("there is nothing to find", 'write what to look for, such as "a red star"')
    if len(query) > MAX_CHARACTERS:
        raise DemoError(f"{short(query)} has {len(query):,} characters", f"use {MAX_CHARACTERS} or fewer")


def phrase(query: str, is_builtin: bool) -> str:
    """
    >>> phrase("red star", is_builtin=True)
    'Is there a red star?'
    """
    query = " ".join(replace_surrogates(query).split())
    is_question = query.endswith(("?", "？"))
    if is_builtin:
        return query if is_question else builtin_question(query.rstrip(".!"))
    return f"{query if is_question else f'Do you see {query}?'}\n{SHORT_ANSWER}"


def builtin_question(name: str) -> str:
    """
    >>> builtin_question("the word EXIT")
    'Is the word EXIT there?'
    """
    first = name.split()[0].lower()
    if first == "the":
        return f"Is {name} there?"
    article = "" if first in DETERMINERS else "an " if first[0] in "aeiou" else "a "
    return f"Is there {article}{name}?"


def first_tokens(engine: LocalEngine, words: tuple[str, ...]) -> set[int]:
    return {engine.processor.encode_text(word)[0] for word in words}
