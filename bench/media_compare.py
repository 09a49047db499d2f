"""Compares this project's decoding of one file with ffmpeg's. Runs in a separate process per file."""

import os
import re
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
# Mean absolute differences in grey levels. Decoders usually agree bit for bit, but scalers do not, and image libraries
# upsample the chroma of a JPEG differently.
PIXELS_TOLERANCE, SCALED_TOLERANCE = 1.5, 6.0
# If a neighbouring ffmpeg frame differs by less than this share of the matched one's difference, it is the one shown.
CLEARLY_CLOSER = 0.5
NEW_CLOCK_SECONDS = 3600.0  # a longer step belongs to another recording's clock
MEMORY_BYTES = 8 * 1024**3
TIMED_OUT = re.compile("took (longer|more) than")


@dataclass(frozen=True)
class Finding:
    """One difference. `known` names the deliberate difference that explains it, or is empty."""

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
    has_exif_rotation: bool = False
    error: str = ""
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
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcome, findings = compare_file(Path(os.fsdecode(bytes.fromhex(path))), seconds)
    return {"outcome": outcome, "findings": [asdict(finding) for finding in findings]}


def compare_file(path: Path, seconds: float) -> tuple[str, list[Finding]]:
    """Who decodes or rejects the file, and where the two sides differ."""
    ours = decode_ours(path, seconds)
    if ours.has_timed_out:
        return "timed out", [Finding("timed out", ours.error)]
    track = media_ffmpeg.find_track(path)
    theirs = Decoded(last_line=track) if isinstance(track, str) else decode_theirs(path, track, ours)
    if ours.error:
        if theirs.num_frames == 0:
            return "rejected by both", []
        frames = f"{theirs.num_frames} frames in ffmpeg" if theirs.num_frames > 1 else "1 frame in ffmpeg"
        return "rejected by us only", [Finding("rejected by us only", f"{ours.error} ({frames})")]
    if isinstance(track, str) or theirs.num_frames == 0:
        return "rejected by ffmpeg only", [Finding("rejected by ffmpeg only", theirs.last_line)]
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
            return read_image(path)
        info = probe(path, limits)
        ours = Ours((info.width, info.height), info.frame_seconds)
        plan = plan_frames(info, NUM_SAMPLED)
        for batch in decode_frames(path, plan, info=info, limits=limits, size=ours.small):
            ours.indices += batch.indices
            ours.pixels += list(batch.pixels)
        return ours
    except DemoError as error:
        return Ours(error=str(error), has_timed_out=TIMED_OUT.search(error.message) is not None)


def read_image(path: Path) -> Ours:
    image = open_image(path)
    with Image.open(path) as opened:
        orientation = Image.Image.getexif(opened).get(ExifTags.Base.Orientation, 1)
    small = image.convert("RGB").resize(small_size(*image.size), Image.Resampling.BILINEAR)
    return Ours(
        image.size, indices=[0], pixels=[np.asarray(small)], is_picture=True, has_exif_rotation=orientation != 1
    )


def small_size(width: int, height: int) -> tuple[int, int]:
    """
    >>> small_size(640, 360), small_size(48, 32), small_size(0, 0)
    ((320, 180), (48, 32), (16, 16))
    """
    share = min(1.0, SMALL_SIDE / max(1, width, height))
    return max(16, round(width * share)), max(16, round(height * share))


def decode_theirs(path: Path, track: Track, ours: Ours) -> Decoded:
    """Decode all frames in order with ffmpeg, and keep the sampled ones and their neighbours, by number."""
    return media_ffmpeg.decode(path, track, ours.small, neighbours(ours.indices).__contains__)


def neighbours(indices: list[int]) -> set[int]:
    return {index + step for index in indices for step in (-1, 0, 1)}


def known_differences(track: Track, theirs: Decoded, ours: Ours) -> dict[str, str]:
    """The deliberate differences that apply to this file, by kind; `bench.media` describes them."""
    if ours.is_picture:
        rotated = "EXIF orientation" if ours.has_exif_rotation else ""
        first = "first image of several" if theirs.num_frames > 1 else ""
        return {"size": rotated, "rotation": rotated, "pixels": rotated, "count": first, "times": first}
    known = {}
    steps = np.diff(theirs.seconds)
    if not ((steps >= 0) & (steps < NEW_CLOCK_SECONDS)).all():
        known["times"] = "clock discontinuity"
    if theirs.transfers & set(media_ffmpeg.HDR_TRANSFERS):
        known["pixels"] = "HDR tone mapping"
    if len(theirs.sizes) > 1:
        known["size"] = known["pixels"] = known["rotation"] = "changing sizes"
    if track.num_tracks > 1:
        known = dict.fromkeys(("count", "times", "size", "rotation", "pixels"), "several video tracks")
    return known


def differs_in_count(ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    if len(ours.seconds) == theirs.num_frames:
        return []
    return [("count", f"{len(ours.seconds)} frames, in ffmpeg {theirs.num_frames}")]


def differs_in_times(ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    """Compare times since the first frame. If the counts differ, compare each sampled frame with ffmpeg's nearest."""
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
    wrong = np.flatnonzero(~(gaps <= SECONDS_TOLERANCE))  # NaN, an unknown time, counts as wrong
    if len(wrong) == 0:
        return []
    worst = int(wrong[np.argmax(np.nan_to_num(gaps[wrong], nan=np.inf))])
    example = f"frame {names[worst]}: {mine[worst]:.3f} s, in ffmpeg {other[worst]:.3f} s"
    return [("times", f"{len(wrong)} of {len(gaps)} differ by up to {gaps[worst]:.3f} s ({example})")]


def match(ours: Ours, theirs: Decoded) -> tuple[list[int], np.ndarray]:
    """For each sampled frame, the number of the matching ffmpeg frame, and that frame's time on this project's clock.

    With equal counts, frames match by number. Otherwise they match by time, with either the first frames or the last
    frames aligned, whichever fits better.
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
    return [("rotation" if ours.size == size[::-1] else "size", text)]


def differs_in_pixels(path: Path, track: Track, ours: Ours, theirs: Decoded) -> list[tuple[str, str]]:
    """Sampled frames whose content differs from ffmpeg's, separated from those that are only rotated differently."""
    places, _ = match(ours, theirs)
    if not set(places) <= theirs.pixels.keys():
        theirs = media_ffmpeg.decode(path, track, ours.small, neighbours(places).__contains__)
    wrong, rotated = [], []
    for index, place, mine in zip(ours.indices, places, ours.pixels, strict=True):
        gap = difference(mine, theirs.pixels[place])
        other = nearest_neighbour(mine, theirs.pixels, place)
        if gap > 1 and difference(mine, theirs.pixels[other]) < gap * CLEARLY_CLOSER:
            wrong.append(f"{index} is ffmpeg's {other} ({gap:.0f})")
        elif gap > ours.tolerance and (rotation := matching_rotation(mine, theirs.pixels[place])):
            rotated.append(f"{index} by {rotation} ({gap:.0f})")
        elif gap > ours.tolerance:
            wrong.append(f"{index} ({gap:.0f})")
    found = []
    if rotated:
        found.append(("rotation", f"{len(rotated)} of {len(places)} sampled frames: {join(rotated)}"))
    if wrong:
        found.append(("pixels", f"{len(wrong)} of {len(places)} sampled frames differ: {join(wrong)}"))
    expected = min(NUM_SAMPLED, len(ours.seconds))
    if len(ours.indices) < expected:
        found.append(("pixels", f"{expected - len(ours.indices)} of {expected} sampled frames were not decoded"))
    return found


def nearest_neighbour(mine: np.ndarray, pixels: dict[int, np.ndarray], place: int) -> int:
    """The one of ffmpeg's frames `place` and its neighbours that is most similar to `mine`."""
    candidates = [other for other in (place, place - 1, place + 1) if other in pixels]
    return min(candidates, key=lambda other: difference(mine, pixels[other]))


def difference(mine: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(mine.astype(np.int16) - other).mean())


def matching_rotation(mine: np.ndarray, other: np.ndarray) -> str:
    """The rotation or mirroring that turns `mine` into `other`, or an empty string if there is none."""
    for name, rotated in {
        "180°": mine[::-1, ::-1],
        "mirror": mine[:, ::-1],
        "flip": mine[::-1],
        "90°": np.rot90(mine),
        "270°": np.rot90(mine, 3),
    }.items():
        if rotated.shape == other.shape and difference(rotated, other) <= SCALED_TOLERANCE:
            return name
    return ""


def join(items: list[str]) -> str:
    return ", ".join(items[:6]) + (f" and {len(items) - 6} more" if len(items) > 6 else "")
