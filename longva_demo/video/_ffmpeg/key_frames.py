"""Which key packets of a file are key frames, and whole: told by decoding them. Runs in the worker."""

from dataclasses import replace
from enum import Enum, auto

import numpy as np

from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video._ffmpeg.reader import PacketReader
from longva_demo.video._ffmpeg.trial import try_decoder


class KeyState(Enum):
    """What a key packet gives when it is decoded alone."""

    WHOLE = auto()
    DAMAGED = auto()
    NOT_KEY = auto()  # a frame, but one that draws on others: the container's flag is wrong
    SILENT = auto()  # no frame and no error, as where a stream is refreshed stripe by stripe


class KeyFrames:
    """The key packets that a reader meets; each is decoded at most once."""

    def __init__(self, reader: PacketReader) -> None:
        self._reader = reader
        self._states: dict[int, KeyState] = {}
        self._is_corrected = False

    @property
    def stand_alone(self) -> bool:
        """Whether no frame of this codec draws on another."""
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
            return KeyState.SILENT
        is_key = own[0].key_frame or not self._reader.index.reports_keys
        return KeyState.WHOLE if is_key else KeyState.NOT_KEY

    def correct(self, key: int) -> bool:
        """If `key` is not a key frame, find those that are, by their headers. Returns whether the index was changed."""
        if self._is_corrected or self.state(key) is not KeyState.NOT_KEY:
            return False
        self._is_corrected = True
        reader, index = self._reader, self._reader.index
        last = int(index.key_packets[-1])
        trial = try_decoder(reader.path, reader.limits, reader.heartbeat, key_frames_until=last + 1)
        keys = [packet for packet, is_key in zip(trial.packets, trial.is_key, strict=True) if is_key]
        reader.use_index(with_keys(index, keys))
        self._states.clear()
        return True

    def starts_around_damage(self, key: int) -> list[int]:
        """Where the tolerant decoder should start for frames that start at `key`: one place, or two to try.

        Before a damaged key packet it is the second that is whole: earlier frames fill what is missing. Where no frame
        draws on another, that would not help.
        """
        index = self._reader.index
        if self.stand_alone:
            return [key]
        if self.state(key) is KeyState.WHOLE:
            return list(dict.fromkeys((key, index.start_before(key))))
        if self.state(key) is KeyState.SILENT:
            return list(dict.fromkeys((index.start_before(key), int(index.key_packets[0]))))
        start = int(index.key_packets[0])
        num_whole = 0
        for earlier in index.key_packets[index.key_packets < key][::-1].tolist():
            if self.state(earlier) is KeyState.WHOLE:
                start = earlier
                num_whole += 1
                if num_whole == 2:
                    break
        return [start]


def with_keys(index: PacketIndex, keys: list[int]) -> PacketIndex:
    """The index with only those of its key packets that are among `keys`, and its first."""
    kept = np.isin(index.key_packets, keys)
    kept[0] = True
    return replace(index, key_packets=index.key_packets[kept], key_pts=index.key_pts[kept], key_dts=index.key_dts[kept])
