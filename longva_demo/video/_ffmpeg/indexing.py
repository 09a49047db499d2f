"""Index the packets of a file for a probe; decode the whole file if its timestamps are unreliable.

Runs in the worker.
"""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.container import CONVERT, Heartbeat, Video, open_video
from longva_demo.video._ffmpeg.decode_check import (
    DecodeResult,
    SpotChecks,
    check_decodable,
    correct_key_flags,
    decode_file,
)
from longva_demo.video._ffmpeg.frames import exact_frames
from longva_demo.video._ffmpeg.notes import counted
from longva_demo.video._ffmpeg.packets import (
    TRUNCATED,
    PacketIndex,
    PacketTable,
    hide_before_first_key,
    knows_display_order,
    make_index,
    read_packets,
    undecodable_start,
)
from longva_demo.video._ffmpeg.reader import PacketReader
from longva_demo.video._ffmpeg.timestamps import (
    UNKNOWN,
    content_seconds,
    longest_ascending,
    note_gaps,
    presentation_times,
    repair_timestamps,
)
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.tone_map import HDR_NAMES

PLAYED_BY_BROWSERS = {"mp4", "webm", "ogg"}
NUM_CHECKED = 3  # frames decoded by every probe


def index_packets(
    path: Path, limits: DecodeLimits, heartbeat: Heartbeat
) -> tuple[dict[str, Any], list[str], PacketIndex, np.ndarray]:
    """Return (VideoInfo fields, notes, packet index, frame seconds).

    Raises:
        VideoError: the file has no packets or no decodable frame, or is encrypted or too long.
    """
    video = open_video(path, limits)
    try:
        checks = SpotChecks(video, path.stat().st_size)
        table = read_packets(path, video, heartbeat, checks.on_packet)
        if len(table) == 0:
            raise VideoError(f"{path.name} has a video track without frames", CONVERT)
        if table.is_encrypted:
            raise VideoError(f"{path.name} is encrypted (copy protection)", "choose a file without copy protection")
        repair_timestamps(table, float(video.stream.time_base or 1), plays_in_browsers(video))
        index, result = resolve_index(path, video, table, checks.results, limits, heartbeat)
        seconds, end_seconds, zero_seconds = frame_seconds(video, table, index)
        check_duration(path, content_seconds(seconds, end_seconds), limits)
        note_gaps(table.notes, seconds)
        note_missing_end(table.notes, video, end_seconds)
        largest = max([result, *checks.results], key=lambda found: found.num_pixels)
        note_pictures(table.notes, largest, {found.size for found in checks.results})
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
            "zero_seconds": zero_seconds,
        }
        return info, table.notes, index, seconds
    finally:
        video.close()


def plays_in_browsers(video: Video) -> bool:
    return bool(set(video.container.format.name.split(",")) & PLAYED_BY_BROWSERS)


def note_missing_end(notes: list[str], video: Video, end_seconds: float) -> None:
    """Note that the header states a longer duration. With audio, the audio track may be what is longer."""
    header_seconds = (video.container.duration or 0) / av.time_base
    if header_seconds > end_seconds + max(1.0, 0.02 * end_seconds) and not video.container.streams.audio:
        # One note is enough for a truncated file, and this one tells how much is missing.
        notes[:] = [note for note in notes if not note.startswith(TRUNCATED)]
        notes.append(
            f"The header states a duration of {header_seconds:.1f} s, but the video ends at {end_seconds:.1f} s."
        )


def note_pictures(notes: list[str], shown: DecodeResult, sizes: set[tuple[int, int]]) -> None:
    """Note the scaling of frames of other sizes, and tone mapping."""
    width, height = shown.size
    if sizes - {shown.size}:
        named = ", ".join(f"{w} × {h}" for w, h in sorted(sizes | {shown.size}))
        notes.append(f"The frame size changes ({named}); all frames are scaled to fit {width} × {height} pixels.")
    if shown.transfer in HDR_NAMES:
        name = HDR_NAMES[shown.transfer]
        notes.append(f"The video is HDR ({name}); it is tone-mapped to SDR.")


def check_duration(path: Path, seconds: float, limits: DecodeLimits) -> None:
    if seconds > limits.max_duration_seconds:
        message = f"{path.name} is {seconds / 60:.1f} minutes long, above the limit of "
        message += f"{limits.max_duration_seconds / 60:.1f} minutes"
        raise VideoError(message, "cut the video, or raise the limit")


def resolve_index(
    path: Path, video: Video, table: PacketTable, checks: list[DecodeResult], limits: DecodeLimits, heartbeat: Heartbeat
) -> tuple[PacketIndex, DecodeResult]:
    """Use the container's timestamps if the first decoded frames agree with them; otherwise decode the whole file."""
    result = decode_file(path, limits, heartbeat, NUM_CHECKED)
    check_decodable(path, result, limits)
    reports_keys = correct_key_flags(path, video, table, [result, *checks], limits, heartbeat)
    hide_before_first_key(table, min(result.packets))
    if knows_display_order(video, table):
        index = make_index(video, table, reports_keys)
        position = np.flatnonzero(index.shown == result.packets[0])
        expected = index.shown[position[0] : position[0] + len(result.packets)].tolist() if len(position) else []
        if expected == result.packets and len(expected) == min(NUM_CHECKED, len(index.shown)):
            index = drop_undecodable_start(table, index, int(position[0]))
            return drop_truncated_end(path, table, index, limits, heartbeat), result
    result = decode_file(path, limits, heartbeat)
    check_decodable(path, result, limits)
    if result.num_errors > table.num_damaged:
        table.notes.append(f"{result.num_errors} of {len(table)} packets are damaged and contain no decodable frame.")
    shown = np.array(list(dict.fromkeys(result.packets)), dtype=np.int64)
    known = np.flatnonzero(table.pts[shown] != UNKNOWN)
    out_of_order = np.setdiff1d(known, longest_ascending(table.pts[shown], known))
    table.pts[shown[out_of_order]] = UNKNOWN
    if table.num_outliers:
        table.notes.append(f"Ignored {counted(table.num_outliers, 'implausible timestamp')}.")
    elif (table.pts[shown] == UNKNOWN).any():
        table.notes.append("Some frames have no timestamp; their times are estimated from the frame rate.")
    return make_index(video, table, reports_keys, shown), result


def drop_undecodable_start(table: PacketTable, index: PacketIndex, num_dropped: int) -> PacketIndex:
    """Drop frames before the first one that can be decoded."""
    if num_dropped == 0:
        return index
    table.notes.append(undecodable_start(num_dropped))
    return replace(index, shown=index.shown[num_dropped:])


def drop_truncated_end(
    path: Path, table: PacketTable, index: PacketIndex, limits: DecodeLimits, heartbeat: Heartbeat
) -> PacketIndex:
    """Drop the last packet of a file that is truncated in it, if it does not decode."""
    last = len(table) - 1
    if not table.is_truncated or last not in index.shown:
        return index
    with closing(PacketReader(path, index, limits, heartbeat)) as reader:
        if any(exact_frames(reader, [last], damaged=set())):
            return index
    return replace(index, shown=index.shown[index.shown != last])


def frame_seconds(video: Video, table: PacketTable, index: PacketIndex) -> tuple[np.ndarray, float, float]:
    """Return ((frames,) seconds on the player's timeline, end of the last frame, the file's time at 0 s)."""
    base = video.stream.time_base or 1 / 90000
    rate = video.stream.average_rate or video.stream.guessed_rate or 25
    default_step = max(1, round(1 / (rate * base)))
    times = presentation_times(table, index.shown, default_step)
    zero = time_zero(video, table, index, float(times[0]))
    seconds = (times - zero) * float(base)
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else float(default_step)
    last = float(table.duration[index.shown[-1]]) or usual or default_step
    return seconds, float(seconds[-1]) + last * float(base), zero * float(base)


def time_zero(video: Video, table: PacketTable, index: PacketIndex, first: float) -> float:
    """The timestamp, in time-base units, that is 0 s on the player's timeline.

    Chromium's player uses the file's timestamps: a first frame stamped 5 s is shown at 5 s, edit lists are already
    applied, and only a negative start is moved to 0. We do the same, so that a player set to `frame_seconds[i]` shows
    frame i. In other containers, such as transport streams, timestamps start at any value, and no browser plays them.
    For those, 0 s is the start of the earliest track.
    """
    if table.pts[index.shown[0]] == UNKNOWN:
        return first
    start = video.container.start_time
    if plays_in_browsers(video) or start is None or not video.stream.time_base:
        return min(first, 0.0)
    return min(first, start / av.time_base / float(video.stream.time_base))


def frame_rate(video: Video, seconds: np.ndarray) -> float:
    """Mean frames per second; the container's value if it agrees with the timestamps within 1%."""
    stated = float(video.stream.average_rate or 0)
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return stated or 25.0
    measured = (len(seconds) - 1) / float(seconds[-1] - seconds[0])
    return stated if abs(stated - measured) < 0.01 * measured else measured
