"""The worker's side of a probe: index the packets, try the decoder, and decode all where the container misleads."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.container import CONVERT, Heartbeat, Video, open_video
from longva_demo.video._ffmpeg.frames import exact_frames
from longva_demo.video._ffmpeg.packets import (
    BREAKS_OFF,
    PacketIndex,
    PacketTable,
    hide_before_first_key,
    knows_display_order,
    make_index,
    read_packets,
)
from longva_demo.video._ffmpeg.reader import PacketReader
from longva_demo.video._ffmpeg.timestamps import (
    UNKNOWN,
    ascending,
    content_seconds,
    note_gaps,
    settle_times,
    shown_times,
)
from longva_demo.video._ffmpeg.trial import SpotChecks, Trial, check_trial, correct_keys, try_decoder
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.tone_map import HDR_NAMES

PLAYED_BY_BROWSERS = {"mp4", "webm", "ogg"}
NUM_TRIED = 3  # frames decoded by every probe


def index_packets(
    path: Path, limits: DecodeLimits, heartbeat: Heartbeat
) -> tuple[dict[str, Any], list[str], PacketIndex, np.ndarray]:
    """Return (VideoInfo fields, notes, packet index, frame seconds).

    Raises:
        VideoError: no packet, no frame that can be decoded, or too long.
    """
    video = open_video(path, limits)
    try:
        checks = SpotChecks(video, path.stat().st_size)
        table = read_packets(video, heartbeat, checks.see)
        if len(table) == 0:
            raise VideoError(f"{path.name} has a picture track without pictures", CONVERT)
        if table.is_encrypted:
            raise VideoError(f"{path.name} is encrypted (copy protection)", "choose a file without copy protection")
        settle_times(table, float(video.stream.time_base or 1), plays_in_browsers(video))
        index, trial = settle_index(path, video, table, checks.trials, limits, heartbeat)
        seconds, end_seconds = frame_seconds(video, table, index)
        check_duration(path, content_seconds(seconds, end_seconds), limits)
        note_gaps(table.notes, seconds)
        note_missing_end(table.notes, video, end_seconds)
        largest = max([trial, *checks.trials], key=lambda found: found.num_pixels)
        note_pictures(table.notes, largest, {found.size for found in checks.trials})
        info = {
            "fps": frame_rate(video, seconds),
            "duration_seconds": end_seconds,
            "width": largest.size[0],
            "height": largest.size[1],
            "codec": video.stream.codec_context.codec.canonical_name,
            "stored_size": largest.stored_size,
            "rotation": largest.orientation.rotation,
            "is_mirrored": largest.orientation.is_mirrored,
            "pixel_format": largest.pixel_format,
            "container": video.container.format.name,
        }
        return info, table.notes, index, seconds
    finally:
        video.close()


def plays_in_browsers(video: Video) -> bool:
    return bool(set(video.container.format.name.split(",")) & PLAYED_BY_BROWSERS)


def note_missing_end(notes: list[str], video: Video, end_seconds: float) -> None:
    """Say that the header promises more; where there is sound, that may be what is longer."""
    header_seconds = (video.container.duration or 0) / av.time_base
    if header_seconds > end_seconds + max(1.0, 0.02 * end_seconds) and not video.container.streams.audio:
        # A file that was cut off needs one note, and this one says how much is missing.
        notes[:] = [note for note in notes if not note.startswith(BREAKS_OFF)]
        notes.append(
            f"The file says that it is {header_seconds:.1f} s long, but its pictures end at {end_seconds:.1f} s."
        )


def note_pictures(notes: list[str], shown: Trial, sizes: set[tuple[int, int]]) -> None:
    """Say what is done to pictures of other sizes, and to those of high dynamic range."""
    width, height = shown.size
    if sizes - {shown.size}:
        named = ", ".join(f"{w} × {h}" for w, h in sorted(sizes | {shown.size}))
        notes.append(f"The pictures change size ({named}); all are fitted into {width} × {height} pixels.")
    if shown.transfer in HDR_NAMES:
        name = HDR_NAMES[shown.transfer]
        notes.append(f"The video is HDR ({name}); its colours are mapped to those of an ordinary screen.")


def check_duration(path: Path, seconds: float, limits: DecodeLimits) -> None:
    if seconds > limits.max_duration_seconds:
        message = f"{path.name} is {seconds / 60:.1f} minutes long, above the limit of "
        message += f"{limits.max_duration_seconds / 60:.1f} minutes"
        raise VideoError(message, "cut the video, or raise the limit")


def settle_index(
    path: Path, video: Video, table: PacketTable, checks: list[Trial], limits: DecodeLimits, heartbeat: Heartbeat
) -> tuple[PacketIndex, Trial]:
    """Trust the container's times if the first frames agree with them; otherwise decode the whole file once."""
    trial = try_decoder(path, limits, heartbeat, NUM_TRIED)
    check_trial(path, trial, limits)
    reports_keys = correct_keys(path, video, table, [trial, *checks], limits, heartbeat)
    hide_before_first_key(table, min(trial.packets))
    if knows_display_order(video, table):
        index = make_index(video, table, reports_keys)
        place = np.flatnonzero(index.shown == trial.packets[0])
        expected = index.shown[place[0] : place[0] + len(trial.packets)].tolist() if len(place) else []
        if expected == trial.packets and len(expected) == min(NUM_TRIED, len(index.shown)):
            index = without_first(table, index, int(place[0]))
            return without_last(path, table, index, limits, heartbeat), trial
    trial = try_decoder(path, limits, heartbeat)
    check_trial(path, trial, limits)
    if trial.num_errors > table.num_damaged:
        table.notes.append(f"{trial.num_errors} of {len(table)} packets are damaged and give no frame.")
    shown = np.array(list(dict.fromkeys(trial.packets)), dtype=np.int64)
    known = np.flatnonzero(table.pts[shown] != UNKNOWN)
    out_of_order = np.setdiff1d(known, ascending(table.pts[shown], known))
    table.pts[shown[out_of_order]] = UNKNOWN
    if table.num_wild:
        table.notes.append(f"{table.num_wild} time stamps leap away from the others and were not used.")
    elif (table.pts[shown] == UNKNOWN).any():
        table.notes.append("Some frames carry no time of their own; their times are counted from the frame rate.")
    return make_index(video, table, reports_keys, shown), trial


def without_first(table: PacketTable, index: PacketIndex, num_lost: int) -> PacketIndex:
    """Leave out frames that come before the first one that can be decoded."""
    if num_lost == 0:
        return index
    table.notes.append(f"The first {num_lost} frames need frames from before the start of the file.")
    return replace(index, shown=index.shown[num_lost:])


def without_last(
    path: Path, table: PacketTable, index: PacketIndex, limits: DecodeLimits, heartbeat: Heartbeat
) -> PacketIndex:
    """Leave out the last packet of a file that breaks off in it, where no frame comes out of it."""
    last = len(table) - 1
    if not table.breaks_off or last not in index.shown:
        return index
    with closing(PacketReader(path, index, limits, heartbeat)) as reader:
        if any(exact_frames(reader, [last], damaged=set())):
            return index
    return replace(index, shown=index.shown[index.shown != last])


def frame_seconds(video: Video, table: PacketTable, index: PacketIndex) -> tuple[np.ndarray, float]:
    """Return ((frames,) seconds on the player's clock, the end of the last frame)."""
    base = video.stream.time_base or 1 / 90000
    rate = video.stream.average_rate or video.stream.guessed_rate or 25
    default_step = max(1, round(1 / (rate * base)))
    times = shown_times(table, index.shown, default_step)
    zero = time_zero(video, table, index, float(times[0]))
    seconds = (times - zero) * float(base)
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else float(default_step)
    last = float(table.duration[index.shown[-1]]) or usual or default_step
    return seconds, float(seconds[-1]) + last * float(base)


def time_zero(video: Video, table: PacketTable, index: PacketIndex, first: float) -> float:
    """The time stamp, in time-base units, that is 0 s on the player's clock.

    Chromium's player keeps the file's own clock: a file whose first frame is stamped 5 s shows it at 5 s, an edit
    list is already in the time stamps, and only a negative start is moved to 0. We do the same, so that a
    player set to `frame_seconds[i]` shows frame i. Other containers, such as transport streams, have clocks that
    start anywhere, and no browser plays them: there, 0 s is where the earliest track begins.
    """
    if table.pts[index.shown[0]] == UNKNOWN:
        return first
    start = video.container.start_time
    if plays_in_browsers(video) or start is None or not video.stream.time_base:
        return min(first, 0.0)
    return min(first, start / av.time_base / float(video.stream.time_base))


def frame_rate(video: Video, seconds: np.ndarray) -> float:
    """Mean frames a second; the container's own fraction where it agrees with the times within 1%."""
    stated = float(video.stream.average_rate or 0)
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return stated or 25.0
    measured = (len(seconds) - 1) / float(seconds[-1] - seconds[0])
    return stated if abs(stated - measured) < 0.01 * measured else measured
