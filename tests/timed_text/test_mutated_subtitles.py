"""2,000 damaged subtitle files: none crashes or hangs, and no cue gets another one's time."""

import random
import time

import pytest

from longva_demo.errors import VideoError
from longva_demo.timed_text.subtitle_files import parse_subtitles
from longva_demo.timed_text.subtitle_worker import to_lines

NUM_CUES = 40
SEED = 24
HEADS = {
    "srt": "",
    "vtt": "WEBVTT\n\n",
    "ass": "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n",
}


def cue(kind: str, number: int) -> str:
    start, end = f"00:{number:02}:10.250", f"00:{number:02}:12.750"
    text = f"Sentence number{number} of the file, with an ä."
    if kind == "ass":
        return f"Dialogue: 0,{start[1:-1]},{end[1:-1]},Default,,0,0,0,,{text}\n"
    mark = "," if kind == "srt" else "."
    return f"{number}\n{start.replace('.', mark)} --> {end.replace('.', mark)}\n{text}\n\n"


def damage(parts: list[bytes], random_: random.Random) -> tuple[bytes, set[int]]:
    """Return (the file, numbers of parts that were changed). The head is part 0."""
    parts, changed = list(parts), set()
    for _ in range(random_.choice([1, 1, 2, 5, 20])):
        number = random_.randrange(1 if random_.random() < 0.9 else 0, len(parts))
        data = bytearray(parts[number])
        at = random_.randrange(len(data) + 1)
        way = random_.choice(["byte", "cut", "insert", "repeat", "zeros"])
        if way == "byte" and at < len(data):
            data[at] = random_.randrange(256)
        elif way == "cut":
            del data[at : at + random_.randrange(1, 30)]
        elif way == "insert":
            data[at:at] = random_.choice([b"\n\n", b"-->", b"{\\p1}", b"<c", b"\xff\xfe", b"00:00:00,000", b"&#0;"])
        elif way == "repeat":
            data[at:at] = data[:at] * random_.randrange(1, 30)
        else:
            data[at : at + 8] = bytes(8)
        parts[number] = bytes(data)
        changed.add(number)
    return b"".join(parts), changed


@pytest.mark.parametrize("kind", HEADS)
def test_damaged_files(kind: str) -> None:
    parts = [HEADS[kind].encode(), *(cue(kind, number).encode() for number in range(1, NUM_CUES + 1))]
    right = {text: (start, end) for start, end, text in to_lines(parse_subtitles(b"".join(parts), "a")[1])}
    assert len(right) == NUM_CUES
    random_ = random.Random(SEED)
    num_refused = num_kept = num_untouched = 0
    for _ in range(2000 // len(HEADS) + 1):
        data, changed = damage(parts, random_)
        started = time.perf_counter()
        try:
            lines = to_lines(parse_subtitles(data, "a")[1])
        except VideoError:
            num_refused += 1
            continue
        assert time.perf_counter() - started < 10
        found = {text: (start, end) for start, end, text in lines}
        untouched = {f"Sentence number{number} of the file, with an ä." for number in range(1, NUM_CUES + 1)} - {
            f"Sentence number{number} of the file, with an ä." for number in changed
        }
        for text in untouched & found.keys():
            assert found[text] == right[text], text
        num_untouched += len(untouched)
        num_kept += len(untouched & found.keys())
    assert num_refused < 100
    assert num_kept > 0.9 * num_untouched
