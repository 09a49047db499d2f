"""Decode the key packets of a file to check that they are intact key frames. Runs in the worker."""

from dataclasses import replace
from enum import Enum, auto

import numpy as np

from longva_demo.video._ffmpeg.decode_check import decode_file
from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video._ffmpeg.reader import PacketReader


class KeyState(Enum):
    """The result of decoding a key packet alone."""

    INTACT = auto()
    DAMAGED = auto()
    NOT_KEY = auto()  # a frame that references others: the container's key flag is wrong
    NO_OUTPUT = auto()  # no frame and no error, as with periodic intra refresh


class KeyFrames:
    """The states of a reader's key packets; each packet is decoded at most once."""

    def __init__(self, reader: PacketReader) -> None:
        self._reader = reader
        self._states: dict[int, KeyState] = {}
        self._is_corrected = False

    @property
    def intra_only(self) -> bool:
        """Whether every frame of this codec decodes on its own."""
        return bool(self._reader.video.stream.codec_context.codec.intra_only)

    def state(self, key: int) -> KeyState:
        if key not in self._states:
            self._states[key] = self._decode(key)
        return self._states[key]

    def _decode(self, key: int) -> KeyState:
        self._reader.use_threads(1)
        number, packet = next(self._reader.packets_from(key), (-1, None))
        if packet is None or number != key:
            return KeyState.DAMAGED
        packet.pts = key
        frames, failed = self._reader.decode(packet)
        held_back, failed_at_end = self._reader.decode(None)
        own = [frame for frame in frames + held_back if frame.pts == key]
        if failed or failed_at_end or any(frame.is_corrupt for frame in own):
            return KeyState.DAMAGED
        if not own:
            return KeyState.NO_OUTPUT
        is_key = own[0].key_frame or not self._reader.index.reports_keys
        return KeyState.INTACT if is_key else KeyState.NOT_KEY

    def correct(self, key: int) -> bool:
        """If `key` is not a key frame, find the true key frames by their headers. Returns whether the index changed."""
        if self._is_corrected or self.state(key) is not KeyState.NOT_KEY:
            return False
        self._is_corrected = True
        reader, index = self._reader, self._reader.index
        last = int(index.key_packets[-1])
        result = decode_file(reader.path, reader.limits, reader.heartbeat, key_frames_until=last + 1)
        keys = [packet for packet, is_key in zip(result.packets, result.is_key, strict=True) if is_key]
        reader.use_index(with_keys(index, keys))
        self._states.clear()
        return True

    def starts_around_damage(self, key: int) -> list[int]:
        """Key packets from which to decode the damaged GOP of `key`: one, or two to try in turn.

        For a damaged key packet, it is the second intact one before it: earlier frames conceal what is missing. With an
        intra-only codec that would not help.
        """
        index = self._reader.index
        if self.intra_only:
            return [key]
        if self.state(key) is KeyState.INTACT:
            return list(dict.fromkeys((key, index.start_before(key))))
        if self.state(key) is KeyState.NO_OUTPUT:
            return list(dict.fromkeys((index.start_before(key), int(index.key_packets[0]))))
        start = int(index.key_packets[0])
        num_intact = 0
        for earlier in index.key_packets[index.key_packets < key][::-1].tolist():
            if self.state(earlier) is KeyState.INTACT:
                start = earlier
                num_intact += 1
                if num_intact == 2:
                    break
        return [start]


def with_keys(index: PacketIndex, keys: list[int]) -> PacketIndex:
    """The index restricted to its first key packet and those in `keys`."""
    kept = np.isin(index.key_packets, keys)
    kept[0] = True
    return replace(index, key_packets=index.key_packets[kept], key_pts=index.key_pts[kept], key_dts=index.key_dts[kept])
