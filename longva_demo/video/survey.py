"""The worker's side of a probe: index the packets, try the decoder, and decode all where the container misleads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

from longva_demo.errors import VideoError
from longva_demo.video.container import CONVERT, Beat, Video, demux, is_out_of_memory, open_video, reason, use_threads
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.packets import (
    UNKNOWN,
    PacketIndex,
    PacketTable,
    drop_wild_times,
    hide_before_first_key,
    make_index,
    note_gaps,
    read_packets,
    shown_times,
    unroll_times,
)
from longva_demo.video.pictures import clockwise_rotation, square_size

PLAYED_BY_BROWSERS = {"mp4", "webm", "ogg"}
NUM_TRIED = 3  # frames decoded by every probe


@dataclass
class Trial:
    """What came out of a decoder that was fed a file from its start.

    packets: packet numbers of the frames, in the order they came out.
    """

    packets: list[int]
    size: tuple[int, int] = (0, 0)
    rotation: int = 0
    pixel_format: str = ""
    num_errors: int = 0
    error: str = ""


def survey(path: Path, limits: DecodeLimits, beat: Beat) -> tuple[dict[str, Any], list[str], PacketIndex, np.ndarray]:
    """Return (VideoInfo fields, notes, packet index, frame seconds).

    Raises:
        VideoError: no packet, no frame that can be decoded, or too long.
    """
    video = open_video(path, limits)
    try:
        header_seconds = (video.container.duration or 0) / av.time_base
        check_duration(path, header_seconds, limits)
        table = read_packets(video, beat)
        if len(table) == 0:
            raise VideoError(f"{path.name} has a picture track without pictures", CONVERT)
        if table.is_encrypted:
            raise VideoError(f"{path.name} is encrypted (copy protection)", "choose a file without copy protection")
        hide_before_first_key(table)
        drop_wild_times(table, float(video.stream.time_base or 1))
        unroll_times(table)
        index, trial = settle_index(path, video, table, limits, beat)
        seconds, end_seconds = frame_seconds(video, table, index)
        check_duration(path, end_seconds, limits)
        note_gaps(table.notes, seconds)
        if header_seconds > end_seconds + max(1.0, 0.02 * end_seconds) and not video.container.streams.audio:
            table.notes.append(
                f"The file says that it is {header_seconds:.1f} s long, but its pictures end at {end_seconds:.1f} s."
            )
        info = {
            "fps": frame_rate(video, seconds),
            "duration_seconds": end_seconds,
            "width": trial.size[0],
            "height": trial.size[1],
            "codec": video.stream.codec_context.codec.canonical_name,
            "rotation": trial.rotation,
            "pixel_format": trial.pixel_format,
            "container": video.container.format.name,
        }
        return info, table.notes, index, seconds
    finally:
        video.close()


def check_duration(path: Path, seconds: float, limits: DecodeLimits) -> None:
    if seconds > limits.max_duration_seconds:
        message = f"{path.name} is {seconds / 60:.1f} minutes long, above the limit of "
        message += f"{limits.max_duration_seconds / 60:.1f} minutes"
        raise VideoError(message, "cut the video, or raise the limit")


def settle_index(
    path: Path, video: Video, table: PacketTable, limits: DecodeLimits, beat: Beat
) -> tuple[PacketIndex, Trial]:
    """Trust the container's times if the first frames agree with them; otherwise decode the whole file once."""
    if (table.pts[~table.hidden] != UNKNOWN).all():
        index = make_index(video, table)
        trial = try_decoder(path, limits, beat, NUM_TRIED)
        check_trial(path, trial, limits)
        place = np.flatnonzero(index.shown == trial.packets[0])
        expected = index.shown[place[0] : place[0] + len(trial.packets)].tolist() if len(place) else []
        if expected == trial.packets:
            return without_first(table, index, int(place[0])), trial
    trial = try_decoder(path, limits, beat, None)
    check_trial(path, trial, limits)
    if trial.num_errors:
        table.notes.append(f"{trial.num_errors} of {len(table)} packets are damaged and give no frame.")
    shown = np.array(list(dict.fromkeys(trial.packets)), dtype=np.int64)
    if (table.pts[shown] == UNKNOWN).any():
        table.notes.append("Some frames carry no time of their own; their times are counted from the frame rate.")
    return make_index(video, table, shown), trial


def without_first(table: PacketTable, index: PacketIndex, num_lost: int) -> PacketIndex:
    """Leave out frames that come before the first one that can be decoded."""
    if num_lost == 0:
        return index
    table.notes.append(f"The first {num_lost} frames need frames from before the start of the file.")
    return PacketIndex(
        index.order, index.shown[num_lost:], index.key_packets, index.key_pts, index.key_dts, index.can_seek
    )


def check_trial(path: Path, trial: Trial, limits: DecodeLimits) -> None:
    if not trial.packets:
        why = (
            f"they are damaged, or larger than {limits.max_frame_pixels:,} pixels: {trial.error or 'nothing came out'}"
        )
        raise VideoError(f"no frame of {path.name} can be decoded ({why})", CONVERT)


def try_decoder(path: Path, limits: DecodeLimits, beat: Beat, num_frames: int | None) -> Trial:
    """Decode from the start until `num_frames` frames are out, or to the end; broken packets are passed over."""
    video = open_video(path, limits)
    trial = Trial([])
    try:
        if num_frames is None:
            use_threads(video)
        else:
            video.stream.codec_context.thread_count = 1
        number = 0
        for packet in packets_or_end(video):
            if packet.size:
                packet.pts = number  # comes back as the frame's pts: the frame's packet, whatever the container says
                number += 1
            for frame in tolerant_decode(video, packet if packet.size else None, trial):
                if not trial.packets:
                    describe(video, frame, trial)
                trial.packets.append(frame.pts or 0)
            beat()
            if num_frames is not None and len(trial.packets) >= num_frames:
                del trial.packets[num_frames:]
                break
    finally:
        video.close()
    return trial


def packets_or_end(video: Video) -> Any:
    """Demux the picture track; a file that breaks off ends with a flush all the same."""
    try:
        yield from demux(video)
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        yield av.Packet()


def tolerant_decode(video: Video, packet: av.Packet | None, trial: Trial) -> list[VideoFrame]:
    try:
        frames = video.stream.codec_context.decode(packet)
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        trial.num_errors += packet is not None
        trial.error = trial.error or reason(error)
        return []
    return [frame for frame in frames if frame.pts is not None]


def describe(video: Video, frame: VideoFrame, trial: Trial) -> None:
    width, height = square_size(frame.width, frame.height, video.stream.sample_aspect_ratio)
    trial.rotation = clockwise_rotation(frame)
    trial.pixel_format = frame.format.name
    trial.size = (height, width) if trial.rotation % 180 else (width, height)


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
    names = set(video.container.format.name.split(","))
    if names & PLAYED_BY_BROWSERS or start is None or not video.stream.time_base:
        return min(first, 0.0)
    return min(first, start / av.time_base / float(video.stream.time_base))


def frame_rate(video: Video, seconds: np.ndarray) -> float:
    """Mean frames a second; the container's own fraction where it agrees with the times within 1%."""
    stated = float(video.stream.average_rate or 0)
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return stated or 25.0
    measured = (len(seconds) - 1) / float(seconds[-1] - seconds[0])
    return stated if abs(stated - measured) < 0.01 * measured else measured
