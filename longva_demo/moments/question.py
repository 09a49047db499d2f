"""What the model is asked about each window, and which first tokens of its answer mean yes and no."""

from dataclasses import dataclass
from typing import Self

from longva_demo.chat import Engine
from longva_demo.errors import DemoError, replace_surrogates, short

# Each window has the question in its prompt.
MAX_CHARACTERS = 300
TINY = "tiny"
# The built-in model knows names of things with an article: "Do you see a red star?"
DETERMINERS = {"a", "an", "the", "any", "some", "one", "two", "three", "no"}
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
    def about(cls, query: str, engine: Engine) -> Self:
        """The question whether a window shows `query`, such as "a red star". A `query` that is a question is asked.

        Raises:
            DemoError: the query is empty or too long.
        """
        text = phrase(query, engine.loaded.model_id == TINY)
        ids = engine.template.question(text, first=True, has_frames=True)
        yes, no = (first_tokens(engine, words) for words in (YES, NO))
        return cls(text, ids, tuple(sorted(yes - no)), tuple(sorted(no - yes)))


def phrase(query: str, is_builtin: bool) -> str:
    """
    >>> phrase("red star", is_builtin=True)
    'Do you see a red star?'

    Raises:
        DemoError: the query is empty or too long.
    """
    query = " ".join(replace_surrogates(query).split())
    if not query.strip("?.! "):
        raise DemoError("there is nothing to find", 'write what to look for, such as "a red star"')
    if len(query) > MAX_CHARACTERS:
        raise DemoError(f"{short(query)} has {len(query):,} characters", f"use {MAX_CHARACTERS} or fewer")
    if query.endswith(("?", "？")):
        text = query
    else:
        name = query.rstrip(".!")
        has_article = not is_builtin or name.split()[0].lower() in DETERMINERS
        text = f"Do you see {name if has_article else with_article(name)}?"
    return text if is_builtin else f"{text}\n{SHORT_ANSWER}"


def with_article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def first_tokens(engine: Engine, words: tuple[str, ...]) -> set[int]:
    return {engine.processor.encode_text(word)[0] for word in words}
