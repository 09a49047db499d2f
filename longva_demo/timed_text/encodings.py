"""The encoding of text files that do not name theirs. Runs in the worker."""

import codecs
from collections.abc import Sequence

SAMPLE_BYTES = 200_000  # from which the encoding is recognised
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MIN_FOREIGN_BYTES = 8  # with fewer, a guess would be worse than the most frequent one
# Letters that a file has although it names the older, smaller set.
SUPERSETS = {"iso-8859-1": "cp1252", "ascii": "utf-8"}


def decode_text(data: bytes) -> str:
    """Decode text in any usual encoding. Bytes that cannot be decoded become U+FFFD."""
    return data.decode(encoding_of(data), errors="replace")


def decode_cues(cues: Sequence[bytes]) -> list[str]:
    """Decode the cues of one track. Alone, each would be too short to recognise its encoding."""
    narrow = encoding_of(b"\n".join(cue for cue in cues if not cue.startswith(WIDE)))
    return [cue.decode("utf-16" if cue.startswith(WIDE) else narrow, errors="replace") for cue in cues]


def encoding_of(data: bytes) -> str:
    if is_utf8(data):
        return "utf-8-sig"
    import chardet

    sample = data[:SAMPLE_BYTES]
    if not sample.startswith(WIDE) and b"\0" not in sample:
        # Times and numbers, which are the same in every encoding, would outweigh the letters.
        sample = b"\n".join(line for line in sample.split(b"\n") if not line.isascii())
        if sum(byte > 127 for byte in sample) < MIN_FOREIGN_BYTES:
            return "cp1252"
    found = str(chardet.detect(sample)["encoding"] or "cp1252").lower()
    return SUPERSETS.get(found, found)


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8, except for a few that may be damaged, or a character that is cut at the end."""
    text = data.decode("utf-8", errors="replace")
    num_bad = text.count("\ufffd")
    num_good = sum(letter > "\x7f" for letter in text) - num_bad
    return (num_bad == 0 and b"\0" not in data) or num_good > 10 * num_bad > 0
