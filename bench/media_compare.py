"""One file as we decode it beside what ffmpeg shows of it. Runs in a process of its own, for one file."""

import os
import resource
from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from bench import media_ffmpeg
from bench.media_ffmpeg import Decoded, Track
from longva_demo.errors import DemoError
from longva_demo.video import DecodeLimits, decode_frames, plan_frames, probe
from longva_demo.video.still import is_picture, open_image

NUM_SAMPLED = 16
SMALL_SIDE = 320
SECONDS_TOLERANCE = 0.002
# Mean absolute differences in grey levels. Two decoders agree to the bit as a rule, two scalers do not, and picture
# libraries enlarge the colours of a JPEG in different ways.
PIXELS_TOLERANCE, SCALED_TOLERANCE = 1.5, 6.0
CLEARLY_NEARER = 0.5  # another frame of ffmpeg's that differs by less than this share of the right one is the one shown
NEW_CLOCK_SECONDS = 3600.0  # a longer step is another recording's clock
MEMORY_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One disagreement. `known` names the deliberate difference that explains it; empty where nothing does."""

    kind: str
    text: str
    known: str = ""


@dataclass
class Ours:
    size: tuple[int, int] = (0, 0)
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(1))
    indices: list[int] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    is_picture: bool = False
    has_exif_turn: bool = False
    refusal: str = ""
    has_timed_out: bool = False

    @property
    def small(self) -> tuple[int, int]:
        return small_size(*self.size)

    @property
    def tolerance(self) -> float:
        return PIXELS_TOLERANCE if self.small == self.size and not self.is_picture else SCALED_TOLERANCE


def compare(path: str, seconds: float) -> dict[str, Any]:
    """The outcome for one file and its findings, as plain values."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    outcome, findings = compare_file(Path(os.fsdecode(bytes.fromhex(path))), seconds)
    return {"outcome": outcome, "findings": [asdict(finding) for finding in findings]}


def compare_file(path: Path, seconds: float) -> tuple[str, list[Finding]]:
    """Whether both decode the file or who refuses it; and where they disagree."""
    ours = decode_ours(path, seconds)
    if ours.has_timed_out:
        return "timed out", [Finding("timed out", ours.refusal)]
    track = media_ffmpeg.find_track(path)
    theirs = Decoded(last_line=track) if isinstance(track, str) else decode_theirs(path, track, ours)
    if ours.refusal:
        if theirs.num_frames == 0:
            return "refused by both", []
        frames = f"{theirs.num_frames} frames in ffmpeg" if theirs.num_frames > 1 else "1 frame in ffmpeg"
        return "refused by us only", [Finding("refused by us only", f"{ours.refusal} ({frames})")]
    if isinstance(track, str) or theirs.num_frames == 0:
        return "refused by ffmpeg only", [Finding("refused by ffmpeg only", theirs.last_line)]
    known = known_differences(track, theirs, ours)
    found = [*differs_in_count(ours, theirs), *differs_in_times(ours, theirs), *differs_in_size(ours, theirs)]
    found += differs_in_pixels(path, track, ours, theirs)
    if any(kind == "times" for kind, _ in found) and not media_ffmpeg.has_times(path, track):
        known["times"] = "no presentation times"
    return "compared", [Finding(kind, text, known.get(kind, "")) for kind, text in found]


def decode_ours(path: Path, seconds: float) -> Ours:
    limits = DecodeLimits(timeout_seconds=seconds, max_size_bytes=1 << 42, max_duration_seconds=1e9)
    try:
        if is_picture(path):
            return picture(path)
        info = probe(path, limits)
        ours = Ours((info.width, info.height), info.frame_seconds)
        plan = plan_frames(info, NUM_SAMPLED)
        for batch in decode_frames(path, plan, info=info, limits=limits, size=ours.small):
            ours.indices += batch.indices
            ours.pixels += list(batch.pixels)
        return ours
    except DemoError as error:
        return Ours(refusal=str(error), has_timed_out="took more than" in error.message)


def picture(path: Path) -> Ours:
    image = open_image(path)
    with Image.open(path) as opened:
        turn = Image.Image.getexif(opened).get(ExifTags.Base.Orientation, 1)
    small = image.convert("RGB").resize(small_size(*image.size), Image.Resampling.BILINEAR)
    return Ours(image.size, indices=[0], pixels=[np.asarray(small)], is_picture=True, has_exif_turn=turn != 1)


def small_size(width: int, height: int) -> tuple[int, int]:
    """
    >>> small_size(640, 360), small_size(48, 32), small_size(0, 0)
    ((320, 180), (48, 32), (16, 16))
    """
    share = min(1.0, SMALL_SIDE / max(1, width, height))
    return max(16, round(width * share)), max(16, round(height * share))


def decode_theirs(path: Path, track: Track, ours: Ours) -> Decoded:
    """All frames in order; those that we sampled are kept, by number, each with its neighbours."""
    return media_ffmpeg.decode(path, track, ours.small, neighbours(ours.indices).__contains__)


def neighbours(indices: list[int]) -> set[int]:
    return {index + step for index in indices for step in (-1, 0, 1)}


def known_differences(track: Track, theirs: Decoded, ours: Ours) -> dict[str, str]:
    """The deliberate differences that this file can show, by kind; `bench.media` describes them."""
    if ours.is_picture:
        turned = "orientation in EXIF" if ours.has_exif_turn else ""
        first = "first picture of several" if theirs.num_frames > 1 else ""
        return {"size": turned, "turn": turned, "pixels": turned, "count": first, "times": first}
    known = {}
    steps = np.diff(theirs.seconds)
    if not ((steps >= 0) & (steps < NEW_CLOCK_SECONDS)).all():
        known["times"] = "clock that starts again"
    if theirs.transfers & set(media_ffmpeg.HDR_TRANSFERS):
        known["pixels"] = "HDR tone mapping"
    if len(theirs.sizes) > 1:
        known["size"] = known["pixels"] = known["turn"] = "changing sizes"
    if track.num_tracks > 1:
        known = dict.fromkeys(("count", "times", "size", "turn", "pixels"), "several picture tracks")
    return known


def differs_in_count(ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    if len(ours.seconds) == theirs.num_frames:
        return []
    return [("count", f"{len(ours.seconds)} frames, in ffmpeg {theirs.num_frames}")]


def differs_in_times(ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    """Times since the first frame; where the counts differ, each sampled one against the nearest of ffmpeg's."""
    _, matched = match(ours, theirs)
    mine = ours.seconds - ours.seconds[0]
    other = np.array(theirs.seconds)
    if len(mine) == len(other):
        other = other - other[0]
        gaps = np.abs(mine - other)
        names = list(range(len(mine)))
    else:
        gaps = np.abs(mine[ours.indices] - matched)
        mine, other, names = mine[ours.indices], matched, ours.indices
    wrong = np.flatnonzero(~(gaps <= SECONDS_TOLERANCE))  # an unknown time is a wrong one
    if len(wrong) == 0:
        return []
    worst = int(wrong[np.argmax(np.nan_to_num(gaps[wrong], nan=np.inf))])
    example = f"frame {names[worst]}: {mine[worst]:.3f} s, in ffmpeg {other[worst]:.3f} s"
    return [("times", f"{len(wrong)} of {len(gaps)} differ by up to {gaps[worst]:.3f} s ({example})")]


def match(ours: Ours, theirs: Decoded) -> tuple[list[int], np.ndarray]:
    """For each sampled frame of ours (the number of ffmpeg's frame, its time on our clock).

    With as many frames on both sides it is the one of the same number. Otherwise it is the nearest in time, with the
    first frames put on each other or the last ones, whichever fits better.
    """
    other = np.array(theirs.seconds)
    if len(ours.seconds) == len(other):
        return ours.indices, other[ours.indices] - other[0]
    mine = (ours.seconds - ours.seconds[0])[ours.indices]
    best: tuple[float, list[int], np.ndarray] | None = None
    for shift in (other[0], other[-1] - float(ours.seconds[-1] - ours.seconds[0])):
        order = np.argsort(other, kind="stable")
        ascending = (other - shift)[order].tolist()
        places = [int(order[nearest(ascending, second)]) for second in mine.tolist()]
        matched = (other - shift)[places]
        misfit = float(np.abs(mine - matched).sum())
        if best is None or misfit < best[0]:
            best = misfit, places, matched
    assert best is not None
    return best[1], best[2]


def nearest(ascending: list[float], value: float) -> int:
    """
    >>> nearest([0.0, 1.0, 2.0], 1.4), nearest([0.0, 1.0], 9.0), nearest([0.0, 1.0], -9.0)
    (1, 1, 0)
    """
    place = bisect_left(ascending, value)
    choices = range(max(0, place - 1), min(len(ascending), place + 1))
    return min(choices, key=lambda choice: abs(ascending[choice] - value))


def differs_in_size(ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    size, _ = theirs.sizes.most_common(1)[0]
    if max(abs(mine - other) for mine, other in zip(ours.size, size, strict=True)) <= 1:
        return []
    text = f"{ours.size[0]} × {ours.size[1]}, in ffmpeg {size[0]} × {size[1]}"
    return [("turn" if ours.size == size[::-1] else "size", text)]


def differs_in_pixels(path: Path, track: Track, ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    """Sampled frames that are another picture than ffmpeg's; told apart from the right one, wrongly turned."""
    places, _ = match(ours, theirs)
    if not set(places) <= theirs.pixels.keys():
        theirs = media_ffmpeg.decode(path, track, ours.small, neighbours(places).__contains__)
    wrong, turned = [], []
    for index, place, mine in zip(ours.indices, places, ours.pixels, strict=True):
        gap = difference(mine, theirs.pixels[place])
        other = nearest_neighbour(mine, theirs.pixels, place)
        if gap > 1 and difference(mine, theirs.pixels[other]) < gap * CLEARLY_NEARER:
            wrong.append(f"{index} is ffmpeg's {other} ({gap:.0f})")
        elif gap > ours.tolerance and (turn := turn_that_fits(mine, theirs.pixels[place])):
            turned.append(f"{index} by {turn} ({gap:.0f})")
        elif gap > ours.tolerance:
            wrong.append(f"{index} ({gap:.0f})")
    found = []
    if turned:
        found.append(("turn", f"{len(turned)} of {len(places)} sampled frames: {listed(turned)}"))
    if wrong:
        found.append(("pixels", f"{len(wrong)} of {len(places)} sampled frames differ: {listed(wrong)}"))
    expected = min(NUM_SAMPLED, len(ours.seconds))
    if len(ours.indices) < expected:
        found.append(("pixels", f"{expected - len(ours.indices)} of {expected} sampled frames were not decoded"))
    return found


def nearest_neighbour(mine: np.ndarray, pixels: dict[int, np.ndarray], place: int) -> int:
    """The one of ffmpeg's frames `place` and those beside it that is most like ours."""
    beside = [other for other in (place, place - 1, place + 1) if other in pixels]
    return min(beside, key=lambda other: difference(mine, pixels[other]))


def difference(mine: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(mine.astype(np.int16) - other).mean())


def turn_that_fits(mine: np.ndarray, other: np.ndarray) -> str:
    """How our picture must be turned or mirrored to be ffmpeg's; empty where nothing helps."""
    for name, turn in {
        "180°": mine[::-1, ::-1],
        "mirror": mine[:, ::-1],
        "flip": mine[::-1],
        "90°": np.rot90(mine),
        "270°": np.rot90(mine, 3),
    }.items():
        if turn.shape == other.shape and difference(turn, other) <= SCALED_TOLERANCE:
            return name
    return ""


def listed(items: list[str]) -> str:
    return ", ".join(items[:6]) + (f" and {len(items) - 6} more" if len(items) > 6 else "")
