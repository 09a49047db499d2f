"""Frame times from a file's timestamps, which may be missing or wrong. Runs in the worker.

All arrays are in the time base of the video track; UNKNOWN marks a missing timestamp.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from longva_demo.video._ffmpeg.packets import PacketTable

UNKNOWN = int(np.iinfo(np.int64).min)
OUTLIER_SECONDS = 10.0
MAX_REORDERING = 17  # H.264 and HEVC delay at most 16 frames for reordering
NEIGHBOURS = 5  # timestamps on either side that an outlier is compared with
NEW_CLOCK_SECONDS = 3600.0  # a longer step forward starts another recording, in containers without a single clock


def repair_timestamps(table: "PacketTable", time_base: float, has_one_clock: bool) -> None:
    """Drop outliers, and make the timestamps of joined recordings continuous."""
    # Decoding times first, since they ascend in file order. Presentation times ascend only within one recording, and
    # except for the reordering of nearby packets.
    limit = OUTLIER_SECONDS / time_base
    outliers = timestamp_outliers(table.dts, 1, limit)
    table.dts[outliers] = UNKNOWN
    join_clocks(table, time_base, has_one_clock)
    outliers |= timestamp_outliers(table.pts, MAX_REORDERING, limit)
    if outliers.any():
        table.pts[outliers] = table.dts[outliers] = UNKNOWN
        table.num_outliers = int(outliers.sum())


def timestamp_outliers(times: np.ndarray, distance: int, limit: float) -> np.ndarray:
    """Mask of times that are out of order by more than `limit`, relative to the times `distance` or more packets away.

    A gap of any length keeps the order and is no outlier. If the times before are later than those after, the clock
    restarts, and nothing is compared. Example, distance 1, limit 10: in 0 1 2 3 4 900 5 6 7 8 9 the 900 is an outlier;
    in 0 1 2 3 4 900 901 902 903 904 905 and in 900 901 902 903 904 0 1 2 3 4 5 there is none.
    """
    found = np.zeros(len(times), dtype=bool)
    known = np.flatnonzero(times != UNKNOWN)
    width = distance + NEIGHBOURS - 1
    if len(known) < 2 * width + 1:
        return found
    values = times[known].astype(np.float64)
    # The ends of a file have neighbours on one side only.
    padded = np.r_[np.full(width, -np.inf), values, np.full(width, np.inf)]
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS), axis=1)
    earlier, later = medians[: len(values)], medians[2 * distance + NEIGHBOURS - 1 :]
    out_of_order = (values > later + limit) | (values < earlier - limit)
    found[known[out_of_order & (earlier <= later)]] = True
    return found


def join_clocks(table: "PacketTable", time_base: float, has_one_clock: bool) -> None:
    """Make times continuous where the timestamps restart, as in joined recordings.

    A step back, or (unless `has_one_clock`) a step forward of more than NEW_CLOCK_SECONDS, starts another recording.
    An edit list with several parts repeats packets: decoding times go back, but the displayed frames still ascend, and
    their times are correct.
    """
    known = np.flatnonzero(table.dts != UNKNOWN)
    if len(known) < 3:
        return
    steps = np.diff(table.dts[known])
    usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else 1
    forward = max(NEW_CLOCK_SECONDS / time_base, 100 * usual)
    breaks = (steps < -10 * usual) | ((steps > forward) & (not has_one_clock))
    shift = np.zeros(len(table), dtype=np.int64)
    for position in np.flatnonzero(breaks):
        first = known[position + 1]
        if steps[position] > 0 or not shown_times_ascend(table, first):
            shift[first:] += usual - steps[position]
    if not shift.any():
        return
    for column in (table.pts, table.dts):
        column += np.where(column == UNKNOWN, 0, shift)
    table.notes.append("The timestamps restart in the middle of the file; later times continue from there.")


def shown_times_ascend(table: "PacketTable", packet: int) -> bool:
    """Whether the frames displayed from `packet` on are later than those displayed before it."""
    visible = np.flatnonzero(~table.hidden & (table.pts != UNKNOWN))
    position = int(np.searchsorted(visible, packet))
    before = table.pts[visible[max(0, position - MAX_REORDERING) : position]]
    after = table.pts[visible[position : position + MAX_REORDERING]]
    return len(before) == 0 or len(after) == 0 or bool(after.min() > before.max())


def presentation_times(table: "PacketTable", shown: np.ndarray, default_step: int) -> np.ndarray:
    """Return (frames,) presentation times in time-base units. Missing ones are filled in, never repeated.

    If all decoding times are known, they are sorted and assigned in display order: at a constant rate both orders have
    the same times. Otherwise missing times are interpolated between their neighbours. If these are much further apart
    than `default_step`, missing times continue from the earlier one in steps of `default_step`; the gap is then before
    the later one, as in players. Example, step 40: 0 ? ? 120 ? 9000 ? → 0 40 80 120 160 9000 9040.
    """
    pts, dts = table.pts[shown], table.dts[shown]
    known = np.flatnonzero(pts != UNKNOWN)
    if len(known) == len(pts):
        return pts.astype(np.float64)
    positions = np.arange(len(pts))
    if (dts != UNKNOWN).all():
        times = np.sort(dts).astype(np.float64)
        return times + np.median(pts[known] - times[known]) if len(known) else times
    if len(known) == 0:
        return positions * float(default_step)
    steps = np.diff(pts[known]) / np.diff(known)
    before = np.maximum(np.searchsorted(known, positions, side="right") - 1, 0)  # per frame: the last known one
    has_gap = np.append(steps > 2 * default_step, True)[before]
    counted = pts[known][before] + float(default_step) * (positions - known[before])
    interpolated = np.interp(positions, known, pts[known].astype(np.float64))
    return np.where(has_gap | (positions < known[0]), counted, interpolated)


def longest_ascending(times: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The longest subsequence of `positions` (ascending) at which the times never decrease.

    Example: times 0 40 9000 80 120, positions 0 to 4 → 0, 1, 3, 4.
    """
    selected = times[positions]
    if (np.diff(selected) >= 0).all():
        return positions
    ends: list[int] = []  # for each length, the subsequence that ends lowest: its last member
    lowest: list[int] = []  # the times of these
    previous = [-1] * len(positions)
    for member, time in enumerate(selected.tolist()):
        length = bisect_right(lowest, time)
        previous[member] = ends[length - 1] if length else -1
        ends[length : length + 1] = [member]
        lowest[length : length + 1] = [time]
    path = [ends[-1]]
    while previous[path[-1]] >= 0:
        path.append(previous[path[-1]])
    return positions[path[::-1]]


def content_seconds(seconds: np.ndarray, end_seconds: float) -> float:
    """How long the frames of a file are shown, independent of the first timestamp and without steps of over an hour.

    A part of a live stream keeps the stream's timestamps, which may start at 7 h.
    """
    steps = np.diff(seconds, append=end_seconds)
    return float(steps[steps < NEW_CLOCK_SECONDS].sum())


def note_gaps(notes: list[str], seconds: np.ndarray) -> None:
    """Note the gaps in a video of constant rate: frames were lost, or the recorder saw no change."""
    steps = np.diff(seconds)
    if len(steps) < 20:
        return
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > max(0.5, 10 * usual))
    if 0 < len(gaps) <= 5 and (np.abs(steps - usual) < 0.1 * usual).mean() > 0.9:
        where = ", ".join(f"{seconds[gap]:.2f} to {seconds[gap + 1]:.2f} s" for gap in gaps)
        notes.append(f"The file has no frames from {where}.")
