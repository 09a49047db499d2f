"""Search in lines: BM25 over word stems, with umlauts, beginnings of words and small slips."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from longva_demo.timed_text.line import Line
from longva_demo.timed_text.packages import check_installed

# Of Snowball. The language of a line is not known, so a word is indexed under its stem in each of them.
LANGUAGES = ("english", "german", "french", "spanish")
WORD = re.compile(r"[^\W_]+")
# Scripts without spaces between words: each pair of letters is a word.
UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "æ": "ae", "ø": "oe", "œ": "oe"})
MAX_QUERY = 500  # characters
MIN_PREFIX = 3
MAX_CANDIDATES = 100  # words that begin like one of the query, or differ from it by a slip
PREFIX_WEIGHT, SLIP_WEIGHT = 0.6, 0.4  # of what the word itself would count


class LineIndex:
    """An index of lines, for several queries."""

    def __init__(self, lines: Sequence[Line]) -> None:
        """Raises DemoError if a package is missing."""
        check_installed("search")
        import bm25s

        self.lines = list(lines)
        tokens = [sorted({form for word in words_of(line.text) for form in forms(word)}) for line in self.lines]
        self._vocabulary = sorted({token for line in tokens for token in line})
        self._known = set(self._vocabulary)
        self._bm25: Any = bm25s.BM25(method="lucene")
        if self._known:
            self._bm25.index(tokens, show_progress=False)

    def matching(self, query: str) -> list[int]:
        """Positions of the lines that have all words of a query or, if none has, as many as possible; ascending."""
        found = (self.word_scores(query) > 0).sum(axis=0)  # (lines,)
        best = max(found, default=0)
        return [position for position, count in enumerate(found) if count == best > 0]

    def best(self, question: str) -> list[int]:
        """Positions of the lines that fit a question, best first. Words such as "the" do not count."""
        words = [word for word in WORD.findall(question[:MAX_QUERY]) if word.casefold() not in stop_words()]
        scores = self.word_scores(" ".join(words)).sum(axis=0)
        return [int(position) for position in np.argsort(-scores, kind="stable") if scores[position] > 0]

    def word_scores(self, query: str) -> np.ndarray:
        """float32 (words of the query, lines): how well each line fits each word; 0 if not at all."""
        words = list(dict.fromkeys(words_of(query[:MAX_QUERY], is_query=True))) if self._known else []
        scores = np.zeros((len(words), len(self.lines)), dtype=np.float32)
        for row, word in zip(scores, words, strict=True):
            for token, weight in self._candidates(word):
                np.maximum(row, weight * self._bm25.get_scores([token]), out=row)
        return scores

    def _candidates(self, word: str) -> Iterator[tuple[str, float]]:
        """Tokens that stand for a word of a query, with their weights."""
        own = forms(word) & self._known
        yield from ((token, 1.0) for token in own)
        others = set(self._beginning_with(fold(word)))
        yield from ((token, PREFIX_WEIGHT) for token in others)
        if not own and not others:
            yield from ((token, SLIP_WEIGHT) for token in self._similar_to(fold(word)))

    def _beginning_with(self, prefix: str) -> Iterator[str]:
        first = bisect_left(self._vocabulary, prefix)
        for token in self._vocabulary[first : first + MAX_CANDIDATES]:
            if len(prefix) >= MIN_PREFIX and token.startswith(prefix):
                yield token

    def _similar_to(self, word: str) -> list[str]:
        """Words that differ by one slip (a wrong, missing, additional or swapped letter), long ones by two."""
        from rapidfuzz import process
        from rapidfuzz.distance import OSA

        max_slips = 0 if len(word) < 4 else 1 if len(word) < 6 else 2
        found = process.extract(
            word, self._vocabulary, scorer=OSA.distance, score_cutoff=max_slips, limit=MAX_CANDIDATES
        )
        return [token for token, _, _ in found]


def matching_lines(lines: Sequence[Line], query: str) -> list[Line]:
    """The lines that match a query, in their order; all of them if it is empty.

    Raises:
        DemoError: a package is missing.
    """
    return [lines[position] for position in LineIndex(lines).matching(query)] if query.strip() else list(lines)


def words_of(text: str, is_query: bool = False) -> Iterator[str]:
    """The words of a text. Of scripts without spaces each pair of letters, and in lines each letter too.

    >>> list(words_of("It's 中文字")), list(words_of("中文字", is_query=True))
    (['it', 's', '中', '文', '字', '中文', '文字'], ['中文', '文字'])
    """
    for word in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        position = 0
        for run in UNSPACED.finditer(word):
            if position < run.start():
                yield word[position : run.start()]
            letters = run.group()
            if not is_query or len(letters) == 1:
                yield from letters
            yield from (left + right for left, right in pairwise(letters))
            position = run.end()
        if position < len(word):
            yield word[position:]


@lru_cache(maxsize=20_000)
def forms(word: str) -> frozenset[str]:
    """The tokens of a word: without marks, with its umlauts written out, and the stems of these.

    >>> sorted(forms("größe"))
    ['gross', 'grosse', 'groess', 'groesse']
    """
    plain = {fold(word), fold(word.translate(UMLAUTS))}
    return frozenset(plain | {fold(stemmer.stemWord(form)) for form in (word, *plain) for stemmer in stemmers()})


def fold(word: str) -> str:
    """
    >>> fold("Café")
    'cafe'
    """
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@lru_cache(maxsize=1)
def stemmers() -> list[Any]:
    import Stemmer

    return [Stemmer.Stemmer(language) for language in LANGUAGES]


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN_PLUS, STOPWORDS_FRENCH, STOPWORDS_GERMAN

    return frozenset({*STOPWORDS_EN_PLUS, *STOPWORDS_GERMAN, *STOPWORDS_FRENCH})
