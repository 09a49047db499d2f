"""The times of the frames, from time stamps as files have them. Runs in the worker.

All arrays are in the time base of the picture track; UNKNOWN marks a missing time.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from longva_demo.video._ffmpeg.packets import PacketTable

UNKNOWN = int(np.iinfo(np.int64).min)
WILD_SECONDS = 10.0
MAX_REORDERING = 17  # H.264 and HEVC hold back at most 16 frames to put them into display order
NEIGHBOURS = 5  # time stamps on either side that a suspicious one is compared with
NEW_CLOCK_SECONDS = 3600.0  # a longer step forward, in a container without one clock, is another recording's clock


def settle_times(table: "PacketTable", time_base: float, has_one_clock: bool) -> None:
    """Drop time stamps that leap away, and join the clocks of joined recordings into one."""
    # Decoding times first: they ascend in file order. Presentation times ascend but for packets close to one another,
    # and within one clock.
    limit = WILD_SECONDS / time_base
    wild = leaps_away(table.dts, 1, limit)
    table.dts[wild] = UNKNOWN
    run_on(table, time_base, has_one_clock)
    wild |= leaps_away(table.pts, MAX_REORDERING, limit)
    if wild.any():
        table.pts[wild] = table.dts[wild] = UNKNOWN
        table.num_wild = int(wild.sum())


def leaps_away(times: np.ndarray, distance: int, limit: float) -> np.ndarray:
    """Where a time is out of order by more than `limit`, compared with the times `distance` and more packets away.

    A gap, however long, keeps the order, and is no leap. Where the times before are later than those after, the clock
    starts again, and nothing is compared. Example, distance 1, limit 10: in 0 1 2 3 4 900 5 6 7 8 9 the 900 leaps
    away; in 0 1 2 3 4 900 901 902 903 904 905 and in 900 901 902 903 904 0 1 2 3 4 5 nothing does.
    """
    found = np.zeros(len(times), dtype=bool)
    known = np.flatnonzero(times != UNKNOWN)
    width = distance + NEIGHBOURS - 1
    if len(known) < 2 * width + 1:
        return found
    values = times[known].astype(np.float64)
    padded = np.r_[np.full(width, -np.inf), values, np.full(width, np.inf)]  # at its ends a file has only one side
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS), axis=1)
    earlier, later = medians[: len(values)], medians[2 * distance + NEIGHBOURS - 1 :]
    out_of_order = (values > later + limit) | (values < earlier - limit)
    found[known[out_of_order & (earlier <= later)]] = True
    return found


def run_on(table: "PacketTable", time_base: float, has_one_clock: bool) -> None:
    """Let time run on where the time stamps start again, as in joined recordings.

    Where the clock goes back, or (unless `has_one_clock`) forward by more than NEW_CLOCK_SECONDS, another recording
    begins. An edit list with several parts repeats packets, so that decoding times go back while the frames that are
    shown follow one another: their times are right.
    """
    known = np.flatnonzero(table.dts != UNKNOWN)
    if len(known) < 3:
        return
    steps = np.diff(table.dts[known])
    usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else 1
    forward = max(NEW_CLOCK_SECONDS / time_base, 100 * usual)
    breaks = (steps < -10 * usual) | ((steps > forward) & (not has_one_clock))
    shift = np.zeros(len(table), dtype=np.int64)
    for place in np.flatnonzero(breaks):
        first = known[place + 1]
        if steps[place] > 0 or not shown_times_ascend(table, first):
            shift[first:] += usual - steps[place]
    if not shift.any():
        return
    for column in (table.pts, table.dts):
        column += np.where(column == UNKNOWN, 0, shift)
    table.notes.append("The time stamps start again in the middle of the file; later times count on from there.")


def shown_times_ascend(table: "PacketTable", packet: int) -> bool:
    """Whether the frames shown from `packet` on come after those shown before it."""
    visible = np.flatnonzero(~table.hidden & (table.pts != UNKNOWN))
    place = int(np.searchsorted(visible, packet))
    before = table.pts[visible[max(0, place - MAX_REORDERING) : place]]
    after = table.pts[visible[place : place + MAX_REORDERING]]
    return len(before) == 0 or len(after) == 0 or bool(after.min() > before.max())


def shown_times(table: "PacketTable", shown: np.ndarray, default_step: int) -> np.ndarray:
    """Return (frames,) presentation times in time-base units; missing ones are filled in, never repeated.

    Where all decoding times are known, they are dealt out in display order: a constant rate has the same times in both
    orders. Otherwise the missing times are placed evenly between their neighbours, or follow the earlier one by
    `default_step` where the neighbours are much further apart: the gap is before the later one, as players have it.
    Example, step 40: 0 ? ? 120 ? 9000 ? → 0 40 80 120 160 9000 9040.
    """
    pts, dts = table.pts[shown], table.dts[shown]
    known = np.flatnonzero(pts != UNKNOWN)
    if len(known) == len(pts):
        return pts.astype(np.float64)
    places = np.arange(len(pts))
    if (dts != UNKNOWN).all():
        times = np.sort(dts).astype(np.float64)
        return times + np.median(pts[known] - times[known]) if len(known) else times
    if len(known) == 0:
        return places * float(default_step)
    steps = np.diff(pts[known]) / np.diff(known)
    before = np.maximum(np.searchsorted(known, places, side="right") - 1, 0)  # of each place: the known one before it
    has_gap = np.append(steps > 2 * default_step, True)[before]
    counted = pts[known][before] + float(default_step) * (places - known[before])
    return np.where(has_gap | (places < known[0]), counted, np.interp(places, known, pts[known].astype(np.float64)))


def ascending(times: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The longest choice of `places` (ascending) at which the times never fall.

    Example: times 0 40 9000 80 120, places 0 to 4 → 0, 1, 3, 4.
    """
    chosen = times[places]
    if (np.diff(chosen) >= 0).all():
        return places
    ends: list[int] = []  # of the choices of each length, the one that ends lowest: its last member
    lowest: list[int] = []  # the times of these
    previous = [-1] * len(places)
    for member, time in enumerate(chosen.tolist()):
        length = bisect_right(lowest, time)
        previous[member] = ends[length - 1] if length else -1
        ends[length : length + 1] = [member]
        lowest[length : length + 1] = [time]
    path = [ends[-1]]
    while previous[path[-1]] >= 0:
        path.append(previous[path[-1]])
    return places[path[::-1]]


def content_seconds(seconds: np.ndarray, end_seconds: float) -> float:
    """How long the frames of a file are shown: on whatever clock, and without steps of more than an hour.

    A part of a live stream keeps the stream's clock, which may stand at 7 h in its first frame.
    """
    steps = np.diff(seconds, append=end_seconds)
    return float(steps[steps < NEW_CLOCK_SECONDS].sum())


def note_gaps(notes: list[str], seconds: np.ndarray) -> None:
    """Say where a video of constant rate has no frames: they were lost, or the recorder saw no change."""
    steps = np.diff(seconds)
    if len(steps) < 20:
        return
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > max(0.5, 10 * usual))
    if 0 < len(gaps) <= 5 and (np.abs(steps - usual) < 0.1 * usual).mean() > 0.9:
        where = ", ".join(f"{seconds[gap]:.2f} to {seconds[gap + 1]:.2f} s" for gap in gaps)
        notes.append(f"The file has no frames from {where}.")
