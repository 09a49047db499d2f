"""Where every frame of a file is: the packet index, and the times of the frames. Runs in the worker."""

from array import array
from dataclasses import dataclass, field

import av
import numpy as np

from longva_demo.video.container import Beat, Video, demux, is_out_of_memory, reason

UNKNOWN = int(np.iinfo(np.int64).min)
NOT_SEEKABLE = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu", "gif", "apng", "yuv4mpegpipe"}
DEPENDS_ON_ALL = {"gif", "apng"}  # their "keyframes" draw on what was shown before


@dataclass
class PacketTable:
    """What the container says of each packet of the picture track, in file (decode) order; (packets,) each.

    pts, dts: presentation and decoding time in the track's time base, UNKNOWN where the container has none.
    hidden: the packet shows no frame (cut away by an edit list, an alternate reference of VP8).
    """

    pts: np.ndarray
    dts: np.ndarray
    duration: np.ndarray
    is_key: np.ndarray
    hidden: np.ndarray
    is_encrypted: bool = False
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True)
class PacketIndex:
    """What is needed to decode any frame. A packet's number is its place in the file, from 0.

    order: (packets,) sorts packets into display order: the presentation time, or the rank found by decoding.
    shown: (frames,) packet number of each frame, in display order.
    key_packets, key_pts, key_dts: (keys,) packets at which decoding can start, and their times for seeking.
    can_seek: whether the container finds its way to those; otherwise the file is read from its start.
    """

    order: np.ndarray
    shown: np.ndarray
    key_packets: np.ndarray
    key_pts: np.ndarray
    key_dts: np.ndarray
    can_seek: bool

    def arrays(self) -> dict[str, np.ndarray]:
        names = ("order", "shown", "key_packets", "key_pts", "key_dts")
        return {name: getattr(self, name).astype(np.int64) for name in names}

    def start_for(self, packet: int) -> int:
        """The packet at which decoding must start for `packet`'s frame to come out right.

        It is the last key packet that is neither later in the file nor displayed later. Example of an open GOP,
        in file order I0 P3 B1 B2 I6 B4 B5: B4 draws on P3 and I6, so that it starts at I0 although I6 is nearer.
        """
        last = int(np.searchsorted(self.key_packets, packet, side="right")) - 1
        while last > 0 and self.order[self.key_packets[last]] > self.order[packet]:
            last -= 1
        return int(self.key_packets[max(last, 0)])

    def start_before(self, start: int, num_keys: int = 2) -> int:
        """The key packet `num_keys` before the key packet `start`, for a second try."""
        place = int(np.searchsorted(self.key_packets, start))
        return int(self.key_packets[max(0, place - num_keys)])


def read_packets(video: Video, beat: Beat) -> PacketTable:
    """Read through the file without decoding. A file that breaks off gives what was there, and a note."""
    pts, dts, duration = array("q"), array("q"), array("q")
    is_key, hidden = bytearray(), bytearray()
    is_vp8 = video.stream.codec_context.name in ("vp8", "libvpx")
    num_corrupt = 0
    is_encrypted = False
    broken = ""
    try:
        for packet in demux(video):
            if packet.size == 0:
                continue
            pts.append(UNKNOWN if packet.pts is None else packet.pts)
            dts.append(UNKNOWN if packet.dts is None else packet.dts)
            duration.append(packet.duration or 0)
            is_key.append(packet.is_keyframe)
            # The first byte of a VP8 frame says whether it is shown (RFC 6386, 9.1).
            hidden.append(packet.is_discard or (is_vp8 and not memoryview(packet)[0] & 0x10))
            num_corrupt += packet.is_corrupt
            if len(is_key) == 1:
                is_encrypted = packet.has_sidedata("encryption_info")
            if len(is_key) % 64 == 0:
                beat()
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        broken = reason(error)
    table = PacketTable(
        pts=np.array(pts, dtype=np.int64),
        dts=np.array(dts, dtype=np.int64),
        duration=np.array(duration, dtype=np.int64),
        is_key=np.array(is_key, dtype=bool),
        hidden=np.array(hidden, dtype=bool),
        is_encrypted=is_encrypted,
    )
    if broken:
        table.notes.append(f"The file breaks off or is damaged after {len(table)} packets ({broken}).")
    elif num_corrupt:
        table.notes.append(f"The container marks {num_corrupt} of {len(table)} packets as damaged.")
    return table


def hide_before_first_key(table: PacketTable) -> None:
    """Packets before the first key packet cannot be decoded: a stream that was cut into starts so."""
    keys = np.flatnonzero(table.is_key)
    if len(keys) == 0:
        table.is_key[:1] = True
    elif keys[0] > 0:
        table.hidden[: keys[0]] = True
        table.notes.append(f"The first {keys[0]} frames need frames from before the start of the file.")


def drop_wild_times(table: PacketTable, time_base: float) -> None:
    """Forget time stamps that a damaged file makes leap away from their neighbours and back.

    A time is wild if it is 10 s from the median of the nine around it. In an ascending series, whatever its gaps
    and steps, each value is that median, so that only leaps there and back are found.
    """
    limit = 10 / time_base
    wild = np.zeros(len(table), dtype=bool)
    for times in (table.dts, table.pts):
        known = np.flatnonzero(times != UNKNOWN)
        if len(known) < 9:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(times[known], 4, mode="edge"), 9)
        wild[known[np.abs(times[known] - np.median(windows, axis=1)) > limit]] = True
    if wild.any():
        table.pts[wild] = table.dts[wild] = UNKNOWN
        table.notes.append(f"{wild.sum()} time stamps leap away from the others and were not used.")


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


def unroll_times(table: PacketTable) -> None:
    """Let time run on where the time stamps start again, as in joined recordings."""
    known = np.flatnonzero(table.dts != UNKNOWN)
    if len(known) < 3:
        return
    steps = np.diff(table.dts[known])
    usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else 1
    back = np.flatnonzero(steps < -10 * usual)
    if len(back) == 0:
        return
    shift = np.zeros(len(table), dtype=np.int64)
    for place in back:
        shift[known[place + 1] :] += usual - steps[place]
    for column in (table.pts, table.dts):
        column += np.where(column == UNKNOWN, 0, shift)
    table.notes.append("The time stamps start again in the middle of the file; later times count on from there.")


def make_index(video: Video, table: PacketTable, ranks: np.ndarray | None = None) -> PacketIndex:
    """Build the index from presentation times, or from `ranks`: packet numbers in the order they came out."""
    keys = np.flatnonzero(table.is_key)
    if video.stream.codec_context.name in DEPENDS_ON_ALL:
        keys = keys[:1]
    if ranks is None:
        visible = np.flatnonzero(~table.hidden)
        shown = visible[np.argsort(table.pts[visible], kind="stable")]
        order = table.pts
    else:
        shown = ranks
        order = np.full(len(table), -1, dtype=np.int64)
        order[shown] = np.arange(len(shown))
    pts, dts = table.pts[keys], table.dts[keys]
    names = set(video.container.format.name.split(","))
    unique = len(set(zip(pts.tolist(), dts.tolist(), strict=True))) == len(keys)
    can_seek = ranks is None and unique and not names & NOT_SEEKABLE and bool((pts != UNKNOWN).all())
    return PacketIndex(order, shown, keys, pts, dts, can_seek)


def shown_times(table: PacketTable, shown: np.ndarray, default_step: int) -> np.ndarray:
    """Return (frames,) presentation times in time-base units; missing ones are filled in, never repeated.

    With some times known, the missing ones are placed evenly between their neighbours. With none known, decoding
    times are dealt out in display order (a constant rate has the same times in both orders); with neither, frames
    follow each other by `default_step`.
    """
    pts = table.pts[shown]
    known = np.flatnonzero(pts != UNKNOWN)
    if len(known) == len(pts):
        return pts.astype(np.float64)
    places = np.arange(len(pts))
    if len(known) == 0:
        dts = table.dts[shown]
        if (dts == UNKNOWN).any():
            return places * float(default_step)
        return np.sort(dts).astype(np.float64)
    step = float(default_step)
    if len(known) > 1:
        step = (pts[known[-1]] - pts[known[0]]) / (known[-1] - known[0])
    times = np.interp(places, known, pts[known].astype(np.float64))
    first, last = known[0], known[-1]
    times[:first] = pts[first] - step * (first - places[:first])
    times[last + 1 :] = pts[last] + step * (places[last + 1 :] - last)
    return times
