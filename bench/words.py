"""Subtitles, speech and text in frames: how right, how fast, and with how much memory.

    python -m bench.words                          # all parts, about half an hour on two cores
    python -m bench.words speech screen            # only these
    python -m bench.words long --minutes 120       # time and memory of a long file

Needs the packages of the extra `words`, and espeak-ng for speech (scripts/install_espeak.sh). Prints one line of JSON
per part.
"""

import argparse
import json
import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rapidfuzz.distance import Levenshtein

from bench.process import cpu_seconds
from longva_demo.timed_text import Line, Request, read_lines
from longva_demo.video import probe
from tests.support.speech import RATE, music, sequence, speak, with_music, write_sound
from tests.support.written import Sign, draw_clip, make_signs

SEED = 24
SENTENCES = (
    "The lecture begins at nine in the morning and ends before lunch.",
    "Please turn off your phone before the film starts.",
    "A small dog runs across the green field towards the river.",
    "We measured the temperature every hour for three weeks.",
    "The next train to the airport leaves from platform seven.",
    "She opened the red box and found a letter from her brother.",
    "In this video I will show you how to repair a bicycle.",
    "The results were better than anyone had expected.",
    "Turn left at the second street and walk along the park.",
    "The company sold more than two million cars last year.",
    "Heat the oil in a large pan and add the onions.",
    "Nobody knew why the old bridge had been closed.",
    "The children built a tower out of wooden blocks.",
    "Scientists discovered a new planet far beyond the sun.",
    "If you have any questions, write them below the video.",
    "The museum is open every day except on Monday.",
)
DECIBELS = 10.0
MAX_LATE_SECONDS = 0.5


def read_all(path: Path, source: str, **more: Any) -> list[Line]:
    """The lines of one source."""
    lines: list[Line] = []
    for update in read_lines(probe(path), Request(sources=(source,), **more)):
        lines = list(update.lines)
    return lines


def words_in(text: str) -> list[str]:
    return re.findall(r"[a-z']+|\d+", text.lower())


def word_times(lines: Sequence[Line]) -> list[tuple[str, float]]:
    """Each word with the second at which it begins, estimated from its place in its line."""
    found = []
    for line in lines:
        words = words_in(line.text)
        letters = sum(map(len, words))
        before = 0
        for word in words:
            found.append((word, line.start + (line.end - line.start) * before / letters))
            before += len(word)
    return found


def speech(folder: Path, num_clips: int = 10) -> dict[str, Any]:
    """Word error of sentences over music, and how many of the right words are at their time."""
    num_wrong = num_words = num_found = num_timely = 0
    for number in range(num_clips):
        chosen = random.Random(SEED + number).sample(SENTENCES, 6)
        sound, spoken = sequence([speak(sentence) for sentence in chosen], pause_seconds=0.7)
        path = write_sound(folder / f"speech-{number}.mp4", with_music(sound, DECIBELS, SEED + number))
        found = word_times(read_all(path, "speech"))
        wanted, heard = [words_in(word)[0] for word, _ in spoken], [word for word, _ in found]
        num_words += len(wanted)
        num_wrong += Levenshtein.distance(wanted, heard)
        for block in Levenshtein.opcodes(wanted, heard):
            if block.tag == "equal":
                times = zip(spoken[block.src_start : block.src_end], found[block.dest_start :], strict=False)
                late = [abs(there - here) for (_, there), (_, here) in times if not math.isnan(there)]
                num_found += len(late)
                num_timely += sum(seconds <= MAX_LATE_SECONDS for seconds in late)
    return {"clips": num_clips, "word_error": num_wrong / num_words, "words_at_their_time": num_timely / num_found}


def noise(folder: Path, num_clips: int = 10) -> dict[str, Any]:
    """Lines that are invented where there is only noise."""
    invented = []
    for number in range(num_clips):
        random_ = np.random.default_rng(SEED + number)
        white = random_.standard_normal(20 * RATE).astype(np.float32)
        sound = 0.1 * (music(20 * RATE, SEED + number) if number % 2 else white)
        invented += read_all(write_sound(folder / f"noise-{number}.mp4", sound), "speech")
    return {"clips": num_clips, "invented_lines": len(invented)}


def long(folder: Path, minutes: float = 10.0) -> dict[str, Any]:
    """Time and peak memory of the worker for a file of so many minutes."""
    spoken = [speak(sentence) for sentence in SENTENCES]
    once, _ = sequence(spoken, pause_seconds=1.0)
    count = int(np.ceil(minutes * 60 * RATE / len(once)))
    sound = np.tile(once, count)[: round(minutes * 60 * RATE)]
    path = write_sound(folder / "long.mp4", sound)
    started, peak = time.perf_counter(), 0
    for _ in read_lines(probe(path), Request(sources=("speech",))):
        peak = max(peak, workers_bytes())
    return {"minutes": minutes, "seconds": time.perf_counter() - started, "worker_peak_mb": peak / 1e6}


def workers_bytes() -> int:
    """Resident memory of the largest process below this one."""
    sizes = []
    for child in psutil.Process().children(recursive=True):
        try:
            sizes.append(child.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return max(sizes, default=0)


def screen(folder: Path, num_clips: int = 12) -> dict[str, Any]:
    """Words found, invented, and ranges, of drawn titles, signs and slides."""
    totals = {"words": 0, "found": 0, "read": 0, "invented": 0, "ranges": 0, "right_ranges": 0}
    for number in range(num_clips):
        size = [(640, 360), (1280, 720), (1920, 1080)][number % 3]
        signs = make_signs(random.Random(SEED + number), size, seconds=40.0)
        path = draw_clip(folder / f"screen-{number}.mp4", signs, size, seconds=40.0, seed=number)
        lines = read_all(path, "screen", num_frames=21)
        count_screen(totals, signs, lines, step=40.0 / 20)
    return {
        "clips": num_clips,
        "words_found": totals["found"] / totals["words"],
        "invented": totals["invented"] / max(1, totals["read"]),
        "ranges_within_a_step": totals["right_ranges"] / max(1, totals["ranges"]),
    }


def count_screen(totals: dict[str, int], signs: Sequence[Sign], lines: Sequence[Line], step: float) -> None:
    """Add the words of one clip. A word is found if a line that overlaps its sign has it."""
    for sign in signs:
        wanted = words_in(sign.text)
        near = [line for line in lines if line.start < sign.end + step and line.end > sign.start - step]
        there = {word for line in near for word in words_in(line.text)}
        totals["words"] += len(wanted)
        totals["found"] += sum(word in there for word in wanted)
        match = next((line for line in near if words_in(line.text) == wanted), None)
        if match is not None:
            totals["ranges"] += 1
            totals["right_ranges"] += abs(match.start - sign.start) <= step and abs(match.end - sign.end) <= step
    real = {word for sign in signs for word in words_in(sign.text)}
    read = [word for line in lines for word in words_in(line.text)]
    totals["read"] += len(read)
    totals["invented"] += sum(word not in real for word in read)


def screen_cost(folder: Path, num_frames: int = 64) -> dict[str, Any]:
    """CPU seconds of 64 frames of 720p whose picture changes in each."""
    size = 1280, 720
    signs = make_signs(random.Random(SEED), size, seconds=64.0)
    path = draw_clip(folder / "cost.mp4", signs, size, seconds=64.0, seed=1)
    info = probe(path)
    before = cpu_seconds()
    for _ in read_lines(info, Request(sources=("screen",), num_frames=num_frames)):
        pass
    return {"frames": num_frames, "cpu_seconds": cpu_seconds() - before}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "speech": speech,
    "noise": noise,
    "long": long,
    "screen": screen,
    "screen_cost": screen_cost,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="|".join(PARTS), help="default: all")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long file")
    parser.add_argument("--clips", type=int, default=10, help="number of clips of speech, of noise and of drawn text")
    options = parser.parse_args()
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            more = {"long": {"minutes": options.minutes}, "screen_cost": {}}.get(name, {"num_clips": options.clips})
            found = PARTS[name](Path(folder), **more)
        print(json.dumps({"part": name, **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
