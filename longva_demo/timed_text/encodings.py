"""The encoding of text files that do not name theirs. Runs in the worker."""

import codecs
from collections.abc import Sequence

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What subtitle files are written in, besides Unicode.
USUAL = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("iso8859_2", "iso8859_5", "iso8859_7", "iso8859_15", "koi8_r", "koi8_u"),
    *("gb18030", "big5", "cp932", "euc_jp", "euc_kr", "cp949"),
]


def decode_text(data: bytes) -> str:
    """Decode text in any usual encoding. Bytes that cannot be decoded become U+FFFD."""
    return data.decode(encoding_of(data), errors="replace")


def decode_cues(cues: Sequence[bytes]) -> list[str]:
    """Decode the cues of one track. Alone, each would be too short to recognise its encoding."""
    encoding = encoding_of(b"\n".join(cues))
    own = [encoding_of(cue) if cue.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)) else encoding for cue in cues]
    return [cue.decode(name, errors="replace") for cue, name in zip(cues, own, strict=True)]


def encoding_of(data: bytes) -> str:
    for mark, name in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return name
    if data[:4096].count(0) > len(data[:4096]) // 8:  # UTF-16 without a mark
        return "utf-16-le" if data[1:4096:2].count(0) > data[0:4096:2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # A file that is cut in the middle of a character, or has a few damaged bytes, is still UTF-8.
        if is_mostly_utf8(data):
            return "utf-8"
        from charset_normalizer import from_bytes

        found = from_bytes(data[:200_000], cp_isolation=USUAL).best()
        return found.encoding if found is not None else "cp1252"
    return "utf-8"


def is_mostly_utf8(data: bytes) -> bool:
    """Whether far more characters beyond ASCII are valid UTF-8 than are not."""
    text = data.decode("utf-8", errors="replace")
    num_bad = text.count("\ufffd")
    return sum(letter > "\x7f" for letter in text) - num_bad > 10 * num_bad
