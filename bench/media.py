"""Any folder of files, decoded by us and by the ffmpeg program: every disagreement, one line each, and a tally.

    python -m bench.media FOLDER

All files of the folder and its folders are tried, whatever their names. Compared with ffmpeg's decoding from the first
frame to the last are: the count of frames; their times since the first one (2 ms); the size as displayed (1 pixel); the
turn; and the pixels of 16 frames, spread as the model's are. Those may differ by 1.5 grey levels in the mean, or by 6
where they are larger than 320 pixels and so scaled down by both, and in still pictures; and no frame may be clearly
nearer to ffmpeg's frame before or after. Transparent pictures are put on white on both sides. A line begins with what
was found:

    count, times, size, turn, pixels     a disagreement
    known                                one that is deliberate, with its reason (below)
    refused by us only / ffmpeg only     the other one gives frames; with the refusal
    timed out, failed                    nothing was compared

Deliberate differences, told as `known`:

- HDR tone mapping: PQ and HLG are mapped to what a screen shows; ffmpeg only converts the numbers.
- changing sizes: pictures of a film that changes its size are fitted into one size; ffmpeg starts anew.
- several picture tracks: we pick the film among tracks, ffmpeg the largest.
- orientation in EXIF: a picture is turned upright; the ffmpeg program (5.1) does not.
- clock that starts again: ffmpeg's times go back, leap by an hour or are missing, as in joined recordings; ours run on.
- no presentation times: AVI says when frames are decoded; with B-frames ffmpeg shows each late, by what it holds back.
- first picture of several: of a TIFF or a JPEG with several pictures, the first is meant.

ffmpeg's own edit lists are followed on both sides. Text and playlists, which ffmpeg draws or follows, count as refused
by it. The exit code is 1 where there is a disagreement that is not known, 2 where nothing could be compared.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import media_ffmpeg
from bench.process import ROOT
from longva_demo.parallel import available_cpus

NOT_INSTALLED = "the ffmpeg and ffprobe programs are not installed; install them, for example apt-get install ffmpeg"
KINDS = ("count", "times", "size", "turn", "pixels")
GRACE_SECONDS = 30.0
PROGRESS_FILES = 50


def files_in(folder: Path) -> Iterator[Path]:
    """The regular files of a folder and its folders, in the order of their names; links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if is_regular(Path(parent, name)))


def is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def compare_apart(path: Path, seconds: float) -> dict[str, Any]:
    """Compare one file in a process of its own; whatever happens to that is a finding of the file."""
    arguments = json.dumps({"path": os.fsencode(path.absolute()).hex(), "seconds": seconds})
    command = [sys.executable, "-m", "bench.process", "bench.media_compare:compare", arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=2 * seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return ended_early("timed out", f"not compared within {2 * seconds + GRACE_SECONDS:g} s")
        finally:
            end_group(process)
    if process.returncode == 0:
        compared: dict[str, Any] = json.loads(out.splitlines()[-1])
        return compared
    if process.returncode < 0:
        return ended_early("failed", f"the comparison was ended by {signal.Signals(-process.returncode).name}")
    return ended_early("failed", media_ffmpeg.last_line(errors))


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the process and the ffmpeg that it started; its own workers end with it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def ended_early(outcome: str, text: str) -> dict[str, Any]:
    return {"outcome": outcome, "findings": [{"kind": outcome, "text": text, "known": ""}]}


def lines(name: str, result: dict[str, Any]) -> Iterator[str]:
    """One line per disagreement of a file."""
    shown = name.encode(errors="backslashreplace").decode().replace("\n", "\\n")
    for finding in result["findings"]:
        if finding["known"]:
            yield f"known ({finding['known']}): {shown}: {finding['kind']}: {finding['text']}"
        else:
            yield f"{finding['kind']}: {shown}: {' '.join(finding['text'].split())}"


def count(tally: Counter[str], result: dict[str, Any]) -> None:
    """Add one file to the tally: under its outcome, and under each kind in which it differs."""
    tally["files"] += 1
    unknown = {finding["kind"] for finding in result["findings"] if not finding["known"]}
    if result["outcome"] != "compared":
        tally[result["outcome"]] += 1
    elif unknown:
        tally["differ"] += 1
        tally.update(unknown)
    else:
        tally["known"] += bool(result["findings"])
        tally["equal"] += not result["findings"]


def summary(tally: Counter[str]) -> str:
    kinds = ", ".join(f"{kind} {tally[kind]}" for kind in KINDS)
    outcomes = ("refused by both", "refused by us only", "refused by ffmpeg only", "timed out", "failed")
    rest = ", ".join(f"{outcome} {tally[outcome]}" for outcome in outcomes)
    equal = f"{tally['files']} files: equal {tally['equal']}, known differences only {tally['known']}"
    return f"{equal}, differ {tally['differ']} ({kinds}), {rest}"


def is_agreed(tally: Counter[str]) -> bool:
    unsettled = ("differ", "refused by us only", "refused by ffmpeg only", "timed out", "failed")
    return not any(tally[outcome] for outcome in unsettled)


def run(folder: Path, seconds: float) -> int:
    """Compare all files of the folder; return the exit code."""
    if not media_ffmpeg.is_installed():
        print(NOT_INSTALLED, file=sys.stderr)
        return 2
    if not folder.is_dir():
        print(f"{folder} is not a folder; name the folder that holds the files", file=sys.stderr)
        return 2
    tally: Counter[str] = Counter()
    paths = list(files_in(folder))
    pool = ThreadPoolExecutor(available_cpus())
    try:
        results = pool.map(lambda path: compare_apart(path, seconds), paths)
        for path, result in zip(paths, results, strict=True):
            count(tally, result)
            for line in lines(str(path.relative_to(folder)), result):
                print(line, flush=True)
            if tally["files"] % PROGRESS_FILES == 0:
                print(f"{tally['files']} of {len(paths)} files compared", file=sys.stderr, flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, the files that wait are left
    print(summary(tally))
    if not any(tally[outcome] for outcome in ("equal", "known", "differ")):
        print(f"nothing in {folder} could be compared; name a folder that holds films", file=sys.stderr)
        return 2
    return 0 if is_agreed(tally) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    both = f"ffmpeg and we together have twice that and {GRACE_SECONDS:g}"
    text = f"the time that we have to read a file, and again to decode it; {both} (default 300)"
    parser.add_argument("--seconds", type=float, default=300.0, help=text)
    options = parser.parse_args()
    return run(options.folder, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
