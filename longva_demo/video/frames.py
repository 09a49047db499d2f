"""The wanted frames of a file, exactly, for as little decoding as that takes. Runs in the worker."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from longva_demo.video.container import Beat, Video, demux, is_out_of_memory, open_video, reason, use_threads
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.packets import UNKNOWN, PacketIndex

READ_ON_PACKETS = 400  # reading (not decoding) this far is cheaper than a seek, and never lands elsewhere
SKIP_SAFELY = {"h264", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video"}


class PacketReader:
    """Reads numbered packets; goes to a key packet by a seek, or from the start where seeking misleads."""

    def __init__(self, path: Path, index: PacketIndex, limits: DecodeLimits, beat: Beat) -> None:
        self.path = path
        self.index = index
        self.limits = limits
        self.beat = beat
        self.can_seek = index.can_seek
        times = zip(index.key_pts.tolist(), index.key_dts.tolist(), strict=True)
        self._key_at = dict(zip(times, index.key_packets.tolist(), strict=True))
        self.open()

    def open(self) -> None:
        self.video: Video = open_video(self.path, self.limits)
        use_threads(self.video)
        self._demux = demux(self.video)
        self._next = 0
        self._held: av.Packet | None = None

    def close(self) -> None:
        self.video.close()

    def packets_from(self, key: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield (number, packet) from the key packet on, with the decoder's memory of other places cleared."""
        near = self._next <= key <= self._next + READ_ON_PACKETS
        if not near and not (self.can_seek and self._seek(key)) and self._next > key:
            self.close()
            self.open()
        self.video.stream.codec_context.flush_buffers()
        while True:
            number, packet = self._take()
            if packet is None:
                return
            if number >= key:
                yield number, packet

    def _take(self) -> tuple[int, av.Packet | None]:
        packet, self._held = self._held, None
        while packet is None or packet.size == 0:
            try:
                packet = next(self._demux)
            except StopIteration:
                return self._next, None
            except av.error.FFmpegError as error:
                if is_out_of_memory(error):
                    raise
                return self._next, None
            self.beat()
        number = self._next
        self._next += 1
        return number, packet

    def _seek(self, key: int) -> bool:
        """Seek to the key packet or an earlier one; False if the container cannot say where it landed."""
        place = int(np.searchsorted(self.index.key_packets, key))
        for target in (self.index.key_pts[place], self.index.key_dts[place]):
            if target == UNKNOWN:
                continue
            try:
                self.video.container.seek(int(target), stream=self.video.stream, backward=True)
                self._demux = demux(self.video)
                self._held = next(self._demux, None)
            except av.error.FFmpegError as error:
                if is_out_of_memory(error):
                    raise
                break
            landed = self._landed()
            if landed is not None and landed <= key:
                self._next = landed
                return True
        self.can_seek = False
        self._next = key + 1  # unknown: makes packets_from() open the file again
        return False

    def _landed(self) -> int | None:
        packet = self._held
        if packet is None or packet.size == 0:
            return None
        pts = UNKNOWN if packet.pts is None else packet.pts
        dts = UNKNOWN if packet.dts is None else packet.dts
        return self._key_at.get((pts, dts))


def exact_frames(reader: PacketReader, wanted: list[int], notes: list[str]) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (packet number, frame) for the wanted packets, in the order of `wanted` (display order).

    Frames wanted from one start are decoded in one go. Where one does not come out, it and the rest of its group
    are decoded once more from two key packets earlier, with nothing skipped; what is missing then is left out.
    """
    for start, group in groupby(wanted, key=reader.index.start_for):
        missing = list(group)
        for number, frame in decode_group(reader, start, missing, True, notes):
            if number != missing[0]:
                break  # the first of the missing was passed over
            yield number, frame
            missing.pop(0)
        if not missing:
            continue
        for number, frame in decode_group(reader, reader.index.start_before(start), missing, False, notes):
            yield number, frame


def decode_group(
    reader: PacketReader, start: int, wanted: list[int], skip: bool, notes: list[str]
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode from the key packet `start` to the last wanted packet, and yield the wanted frames that come out.

    Each packet goes in with its number for a time stamp, and comes out with it on the frame: exact however wrong
    the container's times are. After the last wanted packet the decoder is drained, so that the frames which it
    holds back for reordering come out without decoding on. With `skip`, packets that no other frame draws on are
    not decoded unless wanted.
    """
    targets = set(wanted)
    last = max(targets)
    context = reader.video.stream.codec_context
    may_skip = skip and skips_exactly(reader.video)
    for number, packet in reader.packets_from(start):
        context = reader.video.stream.codec_context  # another one after a reopening
        if may_skip:
            context.skip_frame = "DEFAULT" if number in targets else "NONREF"
        packet.pts = number
        for frame in decode_packet(reader, packet, notes):
            if frame.pts in targets:
                yield int(frame.pts), frame
        if number >= last:
            break
    for frame in decode_packet(reader, None, notes):
        if frame.pts in targets:
            yield int(frame.pts), frame


def decode_packet(reader: PacketReader, packet: av.Packet | None, notes: list[str]) -> list[VideoFrame]:
    try:
        return reader.video.stream.codec_context.decode(packet)
    except av.error.EOFError:
        return []
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        notes.append(f"Parts of the file are damaged ({reason(error)}); frames near them may show it.")
        return []


def skips_exactly(video: Video) -> bool:
    """Whether the decoder's "not referenced" is certain: then skipping such frames changes no other."""
    context = video.stream.codec_context
    if context.codec.canonical_name != "hevc":
        return context.codec.canonical_name in SKIP_SAFELY
    # In HEVC a picture that its own temporal layer does not draw on may serve a higher layer, as in recordings
    # of phones. hvcC, ISO/IEC 14496-15, 8.3.3.1: bits 5 to 3 of byte 21 are the number of temporal layers.
    extradata = context.extradata or b""
    return len(extradata) > 21 and extradata[0] == 1 and extradata[21] >> 3 & 7 == 1
