"""The wanted frames of a file, exactly, for as little decoding as that takes. Runs in the worker."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import takewhile

import numpy as np
from av.video.frame import VideoFrame

from longva_demo.video._ffmpeg.container import MAX_THREADS, Video
from longva_demo.video._ffmpeg.key_frames import KeyFrames, KeyState
from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video._ffmpeg.reader import PacketReader
from longva_demo.video._ffmpeg.timestamps import MAX_REORDERING, UNKNOWN

# In these, frames shown before a key frame may serve one another, and the decoder itself drops what it cannot decode.
LEADING_MAY_SERVE = {"h264", "hevc", "vvc"}
SKIP_SAFELY = {"h264", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video"}


def exact_frames(
    reader: PacketReader, wanted: list[int], damaged: set[int], keys: KeyFrames | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (packet number, frame) for the wanted packets, in the order of `wanted` (display order).

    Frames that start at one key packet are decoded in one go. From the first sign of damage on, they are decoded
    again with one thread and nothing skipped, from a key packet that is whole: what comes out equals decoding the file
    from its start, but for what is missing of frames that no others fill. Packets whose frames may show damage are in
    `damaged` at the end; frames that cannot be decoded are left out. `keys` is for callers that ask several times: each
    key packet is then looked at once.
    """
    keys = keys or KeyFrames(reader)
    threads = 1 if keys.stand_alone else MAX_THREADS  # a frame alone gains nothing, and each change opens the file
    while wanted:
        start = reader.index.start_for(wanted[0])
        group = first_from(reader.index, start, wanted)
        num_found = 0
        for found in strict_frames(reader, start, group, threads):
            yield found
            num_found += 1
        wanted = wanted[num_found:]
        if num_found == len(group) or keys.correct(start):
            continue
        stretch = damaged_stretch(reader.index, keys, start, wanted)
        wanted = wanted[len(stretch) :]
        starts = keys.starts_around_damage(start)
        yield from stretch_frames(reader, starts, stretch, given=group[:num_found], damaged=damaged)


def first_from(index: PacketIndex, start: int, wanted: list[int]) -> list[int]:
    """The first packets of `wanted` that are decoded from the key packet `start`."""
    return list(takewhile(lambda packet: index.start_for(packet) == start, wanted))


def damaged_stretch(index: PacketIndex, keys: KeyFrames, start: int, wanted: list[int]) -> list[int]:
    """The first packets of `wanted`: those that start at `start`, and all up to the next key packet without damage."""
    stretch = first_from(index, start, wanted)
    while len(stretch) < len(wanted) and not keys.stand_alone:
        start = index.start_for(wanted[len(stretch)])
        if keys.state(start) is not KeyState.DAMAGED:
            break
        stretch += first_from(index, start, wanted[len(stretch) :])
    return stretch


def stretch_frames(
    reader: PacketReader, starts: list[int], wanted: list[int], *, given: list[int], damaged: set[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the frames of a damaged stretch, in order; from the next of `starts` on once one does not come out.

    What is damaged is known at the end: of what was yielded, and of the frames of the same start that were `given`
    before, since a frame that is shown earlier may draw on a later one.
    """
    left = wanted
    for start in starts:
        damage = Damage(reader.index, start, max(left))
        places = {packet: place for place, packet in enumerate(left)}
        due = 0
        for number, frame in tolerant_frames(reader, start, left, damage):
            if places[number] > due and start != starts[-1]:
                break
            if places[number] >= due:  # a damaged stream may give frames twice, and out of order
                yield number, frame
                given = [*given, number]
                due = places[number] + 1
        damaged.update(filter(damage.reaches, given))
        left = left[due:]
        if not left:
            break


def strict_frames(
    reader: PacketReader, start: int, wanted: list[int], threads: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode from the key packet `start`, and yield the wanted frames up to the first sign that something is wrong."""
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
                return  # one was passed over
            yield int(frame.pts), frame
            due += 1


def is_false_key(reader: PacketReader, frame: VideoFrame) -> bool:
    return reader.index.reports_keys and not frame.key_frame


def tolerant_frames(
    reader: PacketReader, start: int, wanted: list[int], damage: "Damage"
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode all from the key packet `start`, and yield the wanted frames that come out, damaged or not."""
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
    """Decode from the key packet `start` to `last`; yield (packet, frames that came out, whether decoding failed).

    Each packet goes in with its number for a time stamp, and comes out with it on the frame: exact however wrong
    the container's times are. After the last one the decoder is drained, so that the frames which it holds back for
    reordering come out without decoding on. With `wanted`, other packets that no frame draws on are not decoded.

    Frames displayed before `start` need what came before it. Old codecs (MPEG-4 with fields) take such a frame for the
    reference of later ones: it is left out.
    """
    leading = leading_packets(reader, start)
    index = reader.index
    last += index.frame_of(last + 1) == last  # its second field
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
    """Packets right after the key packet `start` whose frames are displayed before it, and serve no other frame."""
    if reader.video.stream.codec_context.codec.canonical_name in LEADING_MAY_SERVE:
        return set()
    order = reader.index.order[start : start + MAX_REORDERING]
    return set((start + np.flatnonzero((order < order[0]) & (order != UNKNOWN))).tolist())


class Damage:
    """Which packets of a stretch failed, and so which frames may show it."""

    def __init__(self, index: PacketIndex, start: int, last: int) -> None:
        self._index = index
        self._start = start
        self._failed: list[int] = []
        self._keys = [key for key in index.key_packets.tolist() if start <= key <= last]
        # Frames before the first one in display order draw on what came before `start`: their errors say nothing.
        after = index.shown[(index.shown > start) & (index.shown <= last)]
        self._leading = set(after[index.order[after] < index.order[start]].tolist())

    def add(self, packet: int) -> None:
        if packet not in self._leading:
            insort(self._failed, packet)

    def reaches(self, packet: int) -> bool:
        """Whether a packet failed since the last whole key packet that the frame of `packet` can start from."""
        order = self._index.order
        begin = self._start
        for key in reversed(self._keys[: bisect_right(self._keys, packet)]):
            if order[key] <= order[packet] and not self._has_failed(key, key):
                begin = key
                break
        return self._has_failed(begin, packet)

    def _has_failed(self, first: int, last: int) -> bool:
        place = bisect_left(self._failed, first)
        return place < len(self._failed) and self._failed[place] <= last


def skips_exactly(video: Video) -> bool:
    """Whether the decoder's "not referenced" is certain: then skipping such frames changes no other."""
    context = video.decoder
    if context.codec.canonical_name != "hevc":
        return context.codec.canonical_name in SKIP_SAFELY
    # In HEVC a picture that its own temporal layer does not draw on may serve a higher layer, as in recordings
    # of phones. hvcC, ISO/IEC 14496-15, 8.3.3.1: bits 5 to 3 of byte 21 are the number of temporal layers.
    extradata = context.extradata or b""
    return len(extradata) > 21 and extradata[0] == 1 and extradata[21] >> 3 & 7 == 1
