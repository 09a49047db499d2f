"""The tokenizer's normalizer: the same question has the same text, however its spaces and letters are coded.

It is part of the checkpoint's tokenizer.json, so that it holds wherever the checkpoint is used. What stands between two
ChatML markers passes through it. A role and its line break (`user\\n`) stay as they are. Plain text, as the model was
trained with it, is not changed.
"""

from tokenizers import Regex, normalizers

ROLES = ("system", "user", "assistant")
ROLE = "|".join(rf"\A{role}" for role in ROLES)
START = r"(?<=\A|\A\n|" + "|".join(rf"\A{role}\n" for role in ROLES) + ")"  # where a turn's own text begins
INVISIBLE = r"[\p{Cf}\x{34F}\x{115F}\x{1160}\x{FE00}-\x{FE0F}]|[\p{Cc}&&[^\t-\r\x{85}]]"


def normalizer() -> normalizers.Sequence:
    return normalizers.Sequence([normalizers.NFKC(), *_characters(), *_edges()])


def _replace(pattern: str, text: str) -> normalizers.Replace:
    return normalizers.Replace(Regex(pattern), text)


def _characters() -> list[normalizers.Normalizer]:
    """One form of each mark, nothing that is invisible, and single spaces except after a role."""
    return [
        _replace(INVISIBLE, ""),
        _replace("[“”„‟«»″]", '"'),
        _replace("[‘’‚‛`´′]", "'"),
        _replace("[‐-―−]", "-"),
        _replace(rf"(?<!\A|{ROLE})\s+", " "),
    ]


def _edges() -> list[normalizers.Normalizer]:
    """No space before the first mark, and after a question's last letter or digit a single question mark."""
    return [
        _replace(rf"{START}(?!\n)\s+", ""),
        _replace(r"(?<=[\p{L}\p{N}]) +\Z", ""),
        _replace(r"(?<=[\p{L}\p{N}])[\s!?]*\?[\s!?]*\Z", "?"),
    ]
