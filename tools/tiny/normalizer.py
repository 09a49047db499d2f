"""The tokenizer's normalizer: one form of each question, whatever its spacing, encoding, decoration and capitals.

It is part of the checkpoint's tokenizer.json, so it applies wherever the checkpoint is used, to each text between two
ChatML tokens. A role and its line break (`user\\n`) do not change. Plain text, as in training, does not either, except
that a question without a question mark gets one. Patterns are possessive (`++`): without backtracking, the time is
linear in the length of the text.
"""

from string import ascii_uppercase

from tokenizers import Regex, normalizers

from longva_demo.tiny.scenes import COLOUR_NAMES, LETTERS, SHAPES, WORDS

ROLES = ("system", "user", "assistant")
ROLE = "|".join(rf"\A{role}" for role in ROLES)
START = r"(?<=\A|\A\n|" + "|".join(rf"\A{role}\n" for role in ROLES) + ")"  # the start of a turn's own text
FIRST = rf"(?:{START}|(?<=[.?!]|[.?!] ))"  # the start of a sentence
INVISIBLE = r"[\p{Cf}\p{Co}\x{34F}\x{115F}\x{1160}\x{FE00}-\x{FE0F}]|[\p{Cc}&&[^\t-\r\x{85}]]"
ALNUM = r"[\p{L}\p{N}]"
# Private-use characters protect parts of the text temporarily. None are left in the result.
PRIVATE = 0xE000
OPENING, CLOSING = chr(PRIVATE + len(WORDS)), chr(PRIVATE + len(WORDS) + 1)  # quotation marks in an answer
DECORATION = r'["“”„‟«»″*_~`]'
PICTOGRAM = r"[\p{So}\x{1F3FB}-\x{1F3FF}\x{20E3}]"
ASKING = (
    *("who", "what", "which", "where", "when", "why", "how"),
    *("is", "are", "do", "does", "did", "can", "could", "has", "have", "will"),
)
NOUNS = (
    *COLOUR_NAMES,
    *SHAPES,
    *("shape", "thing", "object", "number", "letter", "digit", "word", "symbol", "change"),
    rf"{ALNUM}(?!{ALNUM})",
)


def normalizer() -> normalizers.Sequence:
    return normalizers.Sequence([normalizers.NFKC(), *_characters(), *_capitals(), *_edges()])


def _replace(pattern: str, text: str) -> normalizers.Replace:
    return normalizers.Replace(Regex(pattern), text)


def _characters() -> list[normalizers.Normalizer]:
    """Unify punctuation, remove invisible characters and decoration, and collapse spaces."""
    return [
        _replace(INVISIBLE, ""),
        _replace("[‘’‚‛´′]", "'"),
        _replace("[‐-―−]", "-"),
        *(_replace(mark, sign) for mark, sign in (("❓|❔", "?"), ("❗|❕", "!"))),
        _replace(r'(?<=is )"(?=[\p{Lu}\p{N}]{1,5}"\.)', OPENING),
        _replace(rf'(?<={OPENING}[\p{{Lu}}\p{{N}}]{{1,5}})"', CLOSING),
        _replace(rf"(?<=[\p{{L}}\p{{N}}?.!]){DECORATION}++(?!{ALNUM})", ""),
        _replace(rf"(?<!{DECORATION}|{ALNUM}){DECORATION}++(?={ALNUM})", ""),
        _replace(rf"(?<!{ALNUM})'(?={ALNUM})|(?<=[\p{{L}}\p{{N}}?.!])'(?!{ALNUM})", ""),
        _replace(rf"(?<=[\p{{L}}\p{{N}}?.!])\s*+{PICTOGRAM}(?:\s*+{PICTOGRAM})*+", ""),
        _replace(rf"(?<!{PICTOGRAM}){PICTOGRAM}++\s*+(?={ALNUM})", ""),
        _replace(rf"(?<!\A|{ROLE})\s+", " "),
        _replace(rf"{START}(?!\n)\s+", ""),
    ]


def _capitals() -> list[normalizers.Normalizer]:
    """Keep capitals at the start of a sentence and in the letters and words that pictures show; lower all others."""
    kept = {word: chr(PRIVATE + at) for at, word in enumerate(WORDS)}
    article = rf"(?<!(?i:the|ter|ith|has|ows) )(?<!{ALNUM})A(?= (?i:{'|'.join(NOUNS)}))"
    return [
        *(_replace(rf"(?<=(?i:word|says?|read) |{OPENING}){word}(?!{ALNUM})", mark) for word, mark in kept.items()),
        _replace(rf"(?<!{START}){article}", "a"),
        *(
            _replace(rf"(?<=[\p{{L}}']){letter}|(?<!{FIRST}){letter}(?=\p{{L}})", letter.lower())
            for letter in ascii_uppercase
        ),
        *(_replace(mark, word) for word, mark in kept.items()),
        _replace(f"{OPENING}|{CLOSING}", '"'),
        *(
            _replace(rf"(?<![\p{{L}}\p{{N}}']){letter.lower()}(?![\p{{L}}\p{{N}}'])", letter)
            for letter in LETTERS
            if letter != "A"
        ),
    ]


def _edges() -> list[normalizers.Normalizer]:
    """End a question with a single question mark after its last letter or digit."""
    asking = "|".join(f"{word[0].upper()}{word[1:]}|{word}" for word in ASKING)
    return [
        _replace(rf"(?<={ALNUM}) +\Z", ""),
        _replace(rf"(?<={ALNUM})(?=[\s!?]*+\Z)[\s!]*+\?[\s!?]*+\Z", "?"),
        _replace(rf"{START}(?:{asking})\b[^?.!]*+(?<={ALNUM})\K\Z", "?"),
    ]
