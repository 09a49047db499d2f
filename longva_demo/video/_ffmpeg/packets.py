"""The packet index: where each frame is in the file. Runs in the worker."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import av
import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.container import Heartbeat, Video, demux, is_out_of_memory, reason
from longva_demo.video._ffmpeg.notes import counted
from longva_demo.video._ffmpeg.timestamps import UNKNOWN

NOT_SEEKABLE = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu", "gif", "apng", "yuv4mpegpipe"}
# Containers that may store decoding times as presentation times, and codecs that reorder frames.
ORDER_UNRELIABLE = {"mxf", "mxf_opatom", "gxf"}
REORDERING = {"h264", "hevc", "vvc", "mpeg4", "mpeg2video", "mpeg1video", "vc1"}
UNRANKED = -1
MAX_PACKETS = 6_000_000  # six hours at 240 frames per second have 5.2 million
TRUNCATED = "The file is truncated"
NO_RANDOM_ACCESS = {"gif", "apng"}  # their "key frames" build on earlier frames


@dataclass
class PacketTable:
    """The container's data on each packet of the video track, in file (decode) order; (packets,) each.

    pts, dts: presentation and decoding time in the track's time base; UNKNOWN if the container has none.
    hidden: the packet's frame is not displayed (cut by an edit list, or a VP8 alternate reference).
    """

    pts: np.ndarray
    dts: np.ndarray
    duration: np.ndarray
    is_key: np.ndarray
    hidden: np.ndarray
    is_encrypted: bool = False
    is_truncated: bool = False  # reading ended in an error, or the last packet is incomplete
    num_damaged: int = 0  # packets that the container marks as corrupt; reported in a note
    num_outliers: int = 0  # implausible timestamps, now UNKNOWN
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True)
class PacketIndex:
    """What is needed to decode any frame. A packet's number is its position in the file, from 0.

    order: (packets,) rank in display order, by presentation time or as found by decoding. Equal times share a rank;
        packets without either have UNRANKED.
    shown: (frames,) packet number of each frame, in display order.
    key_packets, key_pts, key_dts: (keys,) packets at which decoding can start, and their timestamps for seeking.
    can_seek: whether the container can seek to them; otherwise the file is read from its start.
    reports_keys: whether the decoder reports which frames are key frames, so that a start can be checked.
    """

    order: np.ndarray
    shown: np.ndarray
    key_packets: np.ndarray
    key_pts: np.ndarray
    key_dts: np.ndarray
    can_seek: bool
    reports_keys: bool

    @classmethod
    def from_parts(cls, arrays: Mapping[str, np.ndarray], flags: Mapping[str, bool]) -> Self:
        return cls(**{name: array.astype(np.int64) for name, array in arrays.items()}, **flags)  # type: ignore[arg-type]

    @property
    def flags(self) -> dict[str, bool]:
        return {"can_seek": self.can_seek, "reports_keys": self.reports_keys}

    def arrays(self) -> dict[str, np.ndarray]:
        """In their compact form, since the server keeps them while a page is open: 8 bytes per packet, 20 per key."""
        numbers = {name: getattr(self, name).astype(np.int32) for name in ("order", "shown", "key_packets")}
        return {**numbers, "key_pts": self.key_pts, "key_dts": self.key_dts}

    def start_for(self, packet: int) -> int:
        """The key packet from which `packet`'s frame can be decoded.

        It is the last one that is neither later in the file nor displayed later. Example of an open GOP, in file order
        I0 P3 B1 B2 I6 B4 B5: B4 references P3 and I6, so decoding starts at I0 although I6 is nearer.
        """
        last = int(np.searchsorted(self.key_packets, packet, side="right")) - 1
        while last > 0 and self.order[self.key_packets[last]] > self.order[packet]:
            last -= 1
        return int(self.key_packets[max(last, 0)])

    @cached_property
    def _in_file_order(self) -> np.ndarray:
        return np.sort(self.shown)

    def frame_of(self, packet: int) -> int:
        """The packet whose number identifies the frame that `packet` belongs to; -1 before the first frame.

        If a frame is coded as two fields (H.264), each may be a packet; the first one's number identifies the frame.
        """
        position = int(np.searchsorted(self._in_file_order, packet, side="right")) - 1
        return int(self._in_file_order[position]) if position >= 0 else -1

    def start_before(self, start: int, num_keys: int = 2) -> int:
        """The key packet `num_keys` before the key packet `start`, for a retry."""
        position = int(np.searchsorted(self.key_packets, start))
        return int(self.key_packets[max(0, position - num_keys)])


def read_packets(
    path: Path, video: Video, heartbeat: Heartbeat, on_packet: Callable[[int, av.Packet], None]
) -> PacketTable:
    """Read all packets and call `on_packet` for each. A truncated file yields what is there, and a note.

    Raises:
        VideoError: there are more than MAX_PACKETS.
    """
    pts, dts, duration = array("q"), array("q"), array("q")
    is_key, hidden = bytearray(), bytearray()
    is_vp8 = video.stream.codec_context.name in ("vp8", "libvpx")
    num_corrupt = 0
    is_encrypted = ends_corrupt = False
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
            ends_corrupt = packet.is_corrupt
            num_corrupt += ends_corrupt
            on_packet(len(is_key) - 1, packet)
            if len(is_key) > MAX_PACKETS:
                raise VideoError(f"{path.name} has more than {MAX_PACKETS:,} frames", "cut the video")
            if len(is_key) == 1:
                is_encrypted = packet.has_sidedata("encryption_info")
            if len(is_key) % 64 == 0:
                heartbeat()
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
        is_truncated=ends_corrupt or bool(broken),
        num_damaged=num_corrupt,
    )
    if broken:
        table.notes.append(f"{TRUNCATED} or damaged after packet {len(table)} ({broken}).")
    elif num_corrupt == 1 and ends_corrupt:
        table.notes.append(f"{TRUNCATED} in the middle of a frame.")
    elif num_corrupt:
        table.notes.append(f"The container marks {num_corrupt} of {len(table)} packets as corrupt.")
    return table


def knows_display_order(video: Video, table: PacketTable) -> bool:
    """Whether all presentation times are known, and give the display order rather than the decode order."""
    if (table.pts[~table.hidden] == UNKNOWN).any() or video.stream.codec_context.name in NO_RANDOM_ACCESS:
        return False
    may_differ = video.container.format.name in ORDER_UNRELIABLE and video.stream.codec_context.name in REORDERING
    return not may_differ or bool((table.pts != table.dts).any())


def hide_before_first_key(table: PacketTable, first_decoded: int) -> None:
    """Hide the packets before the first key packet, which cannot be decoded, as in a stream cut in mid-GOP.

    If the decoder outputs frames of them anyway (`first_decoded` is the packet of the first decoded frame), decoding
    can start at the first packet.
    """
    keys = np.flatnonzero(table.is_key)
    if len(keys) == 0 or first_decoded < keys[0]:
        table.is_key[:1] = True
    elif keys[0] > 0:
        table.hidden[: keys[0]] = True
        table.notes.append(undecodable_start(int(keys[0])))


def undecodable_start(num_frames: int) -> str:
    """The note on frames at the start of a file that cannot be decoded."""
    return f"Skipped {counted(num_frames, 'frame')} at the start: the reference frames are missing."


def make_index(video: Video, table: PacketTable, reports_keys: bool, ranks: np.ndarray | None = None) -> PacketIndex:
    """Build the index from presentation times, or from `ranks`: packet numbers in decoded order."""
    keys = np.flatnonzero(table.is_key)
    if video.stream.codec_context.name in NO_RANDOM_ACCESS:
        keys = keys[:1]
    if ranks is None:
        visible = np.flatnonzero(~table.hidden)
        shown = visible[np.argsort(table.pts[visible], kind="stable")]
        order = np.searchsorted(np.unique(table.pts), table.pts)
        order[table.pts == UNKNOWN] = UNRANKED
    else:
        shown = ranks
        order = np.full(len(table), UNRANKED)
        order[shown] = np.arange(len(shown))
    pts, dts = table.pts[keys], table.dts[keys]
    names = set(video.container.format.name.split(","))
    unique = len(set(zip(pts.tolist(), dts.tolist(), strict=True))) == len(keys)
    can_seek = ranks is None and unique and not names & NOT_SEEKABLE and bool((pts != UNKNOWN).all())
    return PacketIndex(order, shown, keys, pts, dts, can_seek, reports_keys)
