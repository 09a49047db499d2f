"""Whether an answer is right, by fixed rules that are named in every result file."""

import re

from longva_demo.eval.questions import LETTERS, Question

# Named in result files: scores by different extractors must not be compared. Count it up with every change below.
EXTRACTOR = "longva-demo 1"
# A word: letters and digits of scripts with spaces, or one character of a script without.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
# "B", "(B)", "B. two" and "B) two", but not the article of "A red bus".
LEADING_LETTER = re.compile(r"\W*([A-Z])(?:\W*$|\s*[.):,\n])")
# "The answer is B", "option (B)", but not "the answer is A red bus".
NAMED_LETTER = re.compile(r"\b(?i:answer|option|choice)(?:\s+is)?\s*:?\s*\(?([B-Z]\b|A\b(?!\s+[a-z]))")


def is_right(question: Question, answer: str) -> bool:
    """Whether `answer` chooses the right option or, for an open question, contains an accepted text."""
    if question.options is not None:
        return extract_option(answer, question.options) == question.answer
    return any(contains(answer, text) for text in question.answers)


def extract_option(answer: str, options: tuple[str, ...]) -> str | None:
    """The letter of the option that `answer` chooses; None if it chooses none, or several.

    >>> [extract_option(text, ("red", "dark red")) for text in ("B", "(B) dark red", "The answer is B.", "Dark red!")]
    ['B', 'B', 'B', 'B']
    >>> [extract_option(text, ("red", "blue")) for text in ("red or blue", "C", "A sunny day", "")]
    [None, None, None, None]
    """
    letters = LETTERS[: len(options)]
    found = LEADING_LETTER.match(answer) or NAMED_LETTER.search(answer)
    if found is not None and found[1] in letters:
        return found[1]
    named = [text for text in options if contains(answer, text)]
    longest = [text for text in named if not any(text != other and contains(other, text) for other in named)]
    return letters[options.index(longest[0])] if len(longest) == 1 else None


def contains(answer: str, text: str) -> bool:
    """Whether the words of `text` follow one another in `answer`, ignoring capitals and punctuation.

    >>> contains("The star is RED.", "red"), contains("It is bored.", "red"), contains("它是红色的", "红色")
    (True, False, True)
    """
    given, wanted = (f" {' '.join(WORD.findall(value.casefold()))} " for value in (answer, text))
    return bool(wanted.strip()) and wanted in given
