"""Compare how this project and ffmpeg decode the files of a folder: one line per difference, and a summary.

    python -m bench.media FOLDER

All files in the folder and its subfolders are tried, whatever their names. ffmpeg decodes each file from the first
frame to the last. Compared are the number of frames, their times since the first one (2 ms), the displayed size
(1 pixel), the rotation, and the pixels of 16 frames sampled as for the model. Pixels may differ by 1.5 grey levels on
average, or by 6 in still images and in frames above 320 pixels, which both sides scale down. No frame may be clearly
closer to ffmpeg's previous or next frame. Transparency is blended with white on both sides. A line begins with:

    count, times, size, rotation, pixels      a difference
    known                                     a deliberate difference, with its reason (below)
    rejected by us only / by ffmpeg only      the other side returns frames; with the error
    timed out, failed                         nothing was compared

Deliberate differences, reported as `known`:

- HDR tone mapping: PQ and HLG are tone-mapped for display; ffmpeg only converts the values.
- changing sizes: all frames of a video are scaled to one size; ffmpeg changes size with the video.
- several video tracks: this project picks the main video, ffmpeg the largest track.
- EXIF orientation: an image is rotated upright; the ffmpeg program (5.1) does not.
- clock discontinuity: ffmpeg's times go back, jump by an hour or are missing, as in joined recordings; here they
  continue.
- no presentation times: AVI stores decoding times; with B-frames, ffmpeg shows each frame late by its decoding delay.
- first image of several: only the first image of a multi-image TIFF or JPEG is read.

Edit lists are followed on both sides. Text and playlists, which ffmpeg renders or follows, count as rejected by it. The
exit code is 1 if there is a difference that is not known, 2 if nothing could be compared.
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
KINDS = ("count", "times", "size", "rotation", "pixels")
GRACE_SECONDS = 30.0
PROGRESS_FILES = 50


def files_in(folder: Path) -> Iterator[Path]:
    """The regular files of a folder and its subfolders, sorted by name. Links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if is_regular(Path(parent, name)))


def is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def compare_in_process(path: Path, seconds: float) -> dict[str, Any]:
    """Compare one file in a separate process. A crash or timeout becomes a finding of that file."""
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
        return ended_early("failed", f"the comparison was killed by {signal.Signals(-process.returncode).name}")
    return ended_early("failed", media_ffmpeg.last_line(errors))


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and the ffmpeg that it started; its own workers exit with it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def ended_early(outcome: str, text: str) -> dict[str, Any]:
    return {"outcome": outcome, "findings": [{"kind": outcome, "text": text, "known": ""}]}


def lines(name: str, result: dict[str, Any]) -> Iterator[str]:
    """One line per difference of a file."""
    shown = name.encode(errors="backslashreplace").decode().replace("\n", "\\n")
    for finding in result["findings"]:
        if finding["known"]:
            yield f"known ({finding['known']}): {shown}: {finding['kind']}: {finding['text']}"
        else:
            yield f"{finding['kind']}: {shown}: {' '.join(finding['text'].split())}"


def count(tally: Counter[str], result: dict[str, Any]) -> None:
    """Add one file to the tally, under its outcome and under each kind of difference."""
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
    outcomes = ("rejected by both", "rejected by us only", "rejected by ffmpeg only", "timed out", "failed")
    rest = ", ".join(f"{outcome} {tally[outcome]}" for outcome in outcomes)
    equal = f"{tally['files']} files: equal {tally['equal']}, known differences only {tally['known']}"
    return f"{equal}, differ {tally['differ']} ({kinds}), {rest}"


def is_agreed(tally: Counter[str]) -> bool:
    disagreements = ("differ", "rejected by us only", "rejected by ffmpeg only", "timed out", "failed")
    return not any(tally[outcome] for outcome in disagreements)


def run(folder: Path, seconds: float) -> int:
    """Compare all files of the folder. Returns the exit code."""
    if not media_ffmpeg.is_installed():
        print(NOT_INSTALLED, file=sys.stderr)
        return 2
    if not folder.is_dir():
        print(f"{folder} is not a folder; use the folder that contains the files", file=sys.stderr)
        return 2
    tally: Counter[str] = Counter()
    paths = list(files_in(folder))
    pool = ThreadPoolExecutor(available_cpus())
    try:
        results = pool.map(lambda path: compare_in_process(path, seconds), paths)
        for path, result in zip(paths, results, strict=True):
            count(tally, result)
            for line in lines(str(path.relative_to(folder)), result):
                print(line, flush=True)
            if tally["files"] % PROGRESS_FILES == 0:
                print(f"{tally['files']} of {len(paths)} files compared", file=sys.stderr, flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, skip the remaining files
    print(summary(tally))
    if not any(tally[outcome] for outcome in ("equal", "known", "differ")):
        print(f"nothing in {folder} could be compared; use a folder that contains videos", file=sys.stderr)
        return 2
    return 0 if is_agreed(tally) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    total = f"the limit for a whole comparison is twice that plus {GRACE_SECONDS:g}"
    text = f"time limit of this project for probing a file, and again for decoding it; {total} (default 300)"
    parser.add_argument("--seconds", type=float, default=300.0, help=text)
    options = parser.parse_args()
    return run(options.folder, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
