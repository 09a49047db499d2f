"""Decode the requested frames exactly, with as little decoding as possible. Runs in the worker."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import takewhile

import numpy as np
from av.video.frame import VideoFrame

from longva_demo.video._ffmpeg.container import MAX_THREADS, Video
from longva_demo.video._ffmpeg.key_frames import KeyFrames, KeyState
from longva_demo.video._ffmpeg.packets import UNRANKED, PacketIndex
from longva_demo.video._ffmpeg.reader import PacketReader
from longva_demo.video._ffmpeg.timestamps import MAX_REORDERING

# Codecs whose leading pictures may be references. Their decoders drop leading pictures that cannot be decoded.
LEADING_MAY_BE_REFERENCES = {"h264", "hevc", "vvc"}
EXACT_NONREF = {"h264", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video"}


def exact_frames(
    reader: PacketReader, wanted: list[int], damaged: set[int], keys: KeyFrames | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (packet number, frame) for the wanted packets, in the order of `wanted` (display order).

    Each GOP is decoded in one pass. After the first sign of damage, its remaining frames are decoded again with one
    thread, skipping nothing, from an intact key frame. The result equals decoding the file from its start, except in
    lost areas that no other frame conceals. `damaged` receives the packets whose frames may show damage. Frames that
    cannot be decoded are left out. Pass `keys` when calling this several times: each key packet is then checked once.
    """
    keys = keys or KeyFrames(reader)
    threads = 1 if keys.intra_only else MAX_THREADS  # single frames gain nothing, and changing it reopens the file
    while wanted:
        start = reader.index.start_for(wanted[0])
        gop = leading_in_gop(reader.index, start, wanted)
        num_found = 0
        for found in strict_frames(reader, start, gop, threads):
            yield found
            num_found += 1
        wanted = wanted[num_found:]
        if num_found == len(gop) or keys.correct(start):
            continue
        stretch = damaged_stretch(reader.index, keys, start, wanted)
        wanted = wanted[len(stretch) :]
        starts = keys.starts_around_damage(start)
        yield from stretch_frames(reader, starts, stretch, yielded=gop[:num_found], damaged=damaged)


def leading_in_gop(index: PacketIndex, start: int, wanted: list[int]) -> list[int]:
    """The leading packets of `wanted` that belong to the GOP of the key packet `start`."""
    return list(takewhile(lambda packet: index.start_for(packet) == start, wanted))


def damaged_stretch(index: PacketIndex, keys: KeyFrames, start: int, wanted: list[int]) -> list[int]:
    """The leading packets of `wanted` in the GOP of `start`, and in the damaged GOPs that follow it."""
    stretch = leading_in_gop(index, start, wanted)
    while len(stretch) < len(wanted) and not keys.intra_only:
        start = index.start_for(wanted[len(stretch)])
        if keys.state(start) is not KeyState.DAMAGED:
            break
        stretch += leading_in_gop(index, start, wanted[len(stretch) :])
    return stretch


def stretch_frames(
    reader: PacketReader, starts: list[int], wanted: list[int], *, yielded: list[int], damaged: set[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the frames of a damaged stretch, in order. If one is missing, continue from the next of `starts`.

    The damage is known at the end. It may also affect the frames of this GOP that were already `yielded`, since a frame
    may reference one that is displayed later.
    """
    remaining = wanted
    for start in starts:
        damage = Damage(reader.index, start, max(remaining))
        positions = {packet: position for position, packet in enumerate(remaining)}
        due = 0
        for number, frame in tolerant_frames(reader, start, remaining, damage):
            if positions[number] > due and start != starts[-1]:
                break
            if positions[number] >= due:  # a damaged stream may output frames twice or out of order
                yield number, frame
                yielded = [*yielded, number]
                due = positions[number] + 1
        damaged.update(filter(damage.affects, yielded))
        remaining = remaining[due:]
        if not remaining:
            break


def strict_frames(
    reader: PacketReader, start: int, wanted: list[int], threads: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode from the key packet `start`, and yield the wanted frames until the first sign of damage."""
    due = 0
    targets = set(wanted)
    reader.use_threads(threads)
    for _, frames, has_failed in decode_from(reader, start, max(wanted), wanted=targets):
        if has_failed:
            return
        for frame in frames:
            if frame.is_corrupt or (frame.pts == start and is_false_key(reader, frame)):
                return
            if frame.pts not in targets:
                continue
            if frame.pts != wanted[due]:
                return  # a frame is missing
            yield int(frame.pts), frame
            due += 1


def is_false_key(reader: PacketReader, frame: VideoFrame) -> bool:
    return reader.index.reports_keys and not frame.key_frame


def tolerant_frames(
    reader: PacketReader, start: int, wanted: list[int], damage: "Damage"
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode everything from the key packet `start`, and yield the wanted frames, damaged or not."""
    targets = set(wanted)
    reader.use_threads(1)
    for number, frames, has_failed in decode_from(reader, start, max(wanted)):
        if has_failed:
            damage.add(number)
        for frame in frames:
            assert frame.pts is not None
            if frame.is_corrupt:
                damage.add(frame.pts)
            if frame.pts in targets:
                yield frame.pts, frame


def decode_from(
    reader: PacketReader, start: int, last: int, wanted: set[int] | None = None
) -> Iterator[tuple[int, list[VideoFrame], bool]]:
    """Decode from the key packet `start` to `last`; yield (packet, decoded frames, whether decoding failed).

    Each packet's pts is set to its number, which the decoder passes on to the frame. This is exact even if the
    container's timestamps are wrong. After the last packet the decoder is drained, which outputs the frames held back
    for reordering. With `wanted`, other packets are not decoded unless they are references.

    Frames displayed before `start` reference earlier packets. Old codecs (MPEG-4 with fields) would use such a frame as
    a reference for later ones, so these packets are left out.
    """
    leading = leading_packets(reader, start)
    index = reader.index
    last += index.frame_of(last + 1) == last  # include the second field
    for number, packet in reader.packets_from(start):
        if number in leading:
            continue
        if wanted is not None and skips_exactly(reader.video):
            reader.video.decoder.skip_frame = "DEFAULT" if index.frame_of(number) in wanted else "NONREF"
        packet.pts = number
        yield number, *reader.decode(packet)
        if number >= last:
            break
    yield last, *reader.decode(None)


def leading_packets(reader: PacketReader, start: int) -> set[int]:
    """Packets after the key packet `start` whose frames are displayed before it and are not references."""
    if reader.video.stream.codec_context.codec.canonical_name in LEADING_MAY_BE_REFERENCES:
        return set()
    order = reader.index.order[start : start + MAX_REORDERING]
    return set((start + np.flatnonzero((order < order[0]) & (order != UNRANKED))).tolist())


class Damage:
    """The packets of a stretch that failed to decode, and the frames that this may affect."""

    def __init__(self, index: PacketIndex, start: int, last: int) -> None:
        self._index = index
        self._start = start
        self._failed: list[int] = []
        self._keys = [key for key in index.key_packets.tolist() if start <= key <= last]
        # Frames displayed before `start` reference earlier packets: their errors are no sign of damage.
        after = index.shown[(index.shown > start) & (index.shown <= last)]
        self._leading = set(after[index.order[after] < index.order[start]].tolist())

    def add(self, packet: int) -> None:
        if packet not in self._leading:
            insort(self._failed, packet)

    def affects(self, packet: int) -> bool:
        """Whether a packet failed since the last intact key packet from which the frame of `packet` can be decoded."""
        order = self._index.order
        begin = self._start
        for key in reversed(self._keys[: bisect_right(self._keys, packet)]):
            if order[key] <= order[packet] and not self._has_failed(key, key):
                begin = key
                break
        return self._has_failed(begin, packet)

    def _has_failed(self, first: int, last: int) -> bool:
        position = bisect_left(self._failed, first)
        return position < len(self._failed) and self._failed[position] <= last


def skips_exactly(video: Video) -> bool:
    """Whether the decoder's "not referenced" is exact, so that skipping such frames changes no other frame."""
    context = video.decoder
    if context.codec.canonical_name != "hevc":
        return context.codec.canonical_name in EXACT_NONREF
    # In HEVC, a picture that is not referenced in its own temporal layer may be referenced in a higher one, as in phone
    # recordings. hvcC, ISO/IEC 14496-15, 8.3.3.1: bits 5 to 3 of byte 21 are the number of temporal layers.
    extradata = context.extradata or b""
    return len(extradata) > 21 and extradata[0] == 1 and extradata[21] >> 3 & 7 == 1
