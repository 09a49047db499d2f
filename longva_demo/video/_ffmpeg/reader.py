"""Read and decode numbered packets of a file, from any key packet on. Runs in the worker."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from longva_demo.video._ffmpeg.container import (
    MAX_THREADS,
    Heartbeat,
    Video,
    demux,
    is_out_of_memory,
    open_video,
    use_threads,
)
from longva_demo.video._ffmpeg.packets import PacketIndex
from longva_demo.video._ffmpeg.timestamps import UNKNOWN
from longva_demo.video.limits import DecodeLimits

# Errors that FFmpeg also logs for intact frames.
HARMLESS = (
    # Decoding starts at a key frame of an open GOP.
    "mmco:",
    "co located POCs unavailable",
    "number of reference frames",
    # Metadata of a JPEG is invalid.
    "invalid TIFF header in EXIF data",
    "not enough bytes remaining in EXIF buffer",
    "error decoding EXIF data",
    "mjpeg: invalid TIFF header in EXIF data",  # the prefix of FFmpeg 7 and earlier
    "mjpeg: error decoding EXIF data",
    "app: invalid len",
    "unable to decode APP fields",
)
MAX_READ_AHEAD_PACKETS = 400  # reading (not decoding) this many is cheaper than a seek, and always exact


class PacketReader:
    """Reads numbered packets. Seeks to a key packet, or reads from the start if seeking is unreliable.

    It also decodes, to watch FFmpeg's log: FFmpeg conceals much damage and reports it only there.
    """

    def __init__(self, path: Path, index: PacketIndex, limits: DecodeLimits, heartbeat: Heartbeat) -> None:
        self.path = path
        self.limits = limits
        self.heartbeat = heartbeat
        self.max_threads = MAX_THREADS
        self.use_index(index)
        self.open()

    def use_index(self, index: PacketIndex) -> None:
        self.index = index
        self.can_seek = index.can_seek
        times = zip(index.key_pts.tolist(), index.key_dts.tolist(), strict=True)
        self._key_at = dict(zip(times, index.key_packets.tolist(), strict=True))

    def use_threads(self, max_threads: int) -> None:
        """Limit the decoder's threads. With one thread, an error belongs to the packet sent last."""
        if max_threads != self.max_threads:
            self.max_threads = max_threads
            self.close()
            self.open()

    def open(self) -> None:
        self.video: Video = open_video(self.path, self.limits)
        use_threads(self.video, self.max_threads)
        self._demux = demux(self.video)
        self._next = 0
        self._pending: av.Packet | None = None
        self._capture = av.logging.Capture(local=False)
        self._log = self._capture.__enter__()
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)

    def close(self) -> None:
        # Let the decoder's threads finish first: one that logs waits for the GIL, which closing holds.
        self.video.decoder.flush_buffers()
        av.logging.set_level(None)
        self._capture.__exit__(None, None, None)
        self.video.close()

    def decode(self, packet: av.Packet | None) -> tuple[list[VideoFrame], bool]:
        """Return (frames output when `packet` is sent, whether the decoder failed or logged an error).

        None drains the decoder. With several threads, an error may belong to a packet that was sent a little earlier.
        """
        self._log.clear()
        has_failed = packet is not None and packet.is_corrupt
        try:
            frames = self.video.decoder.decode(packet)
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError as error:
            if is_out_of_memory(error):
                raise
            frames, has_failed = [], True
        has_failed |= any(not message.startswith(HARMLESS) for _, _, message in self._log)
        return frames, has_failed

    def packets_from(self, key: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield (number, packet) from the key packet on, with the decoder flushed."""
        near = self._next <= key <= self._next + MAX_READ_AHEAD_PACKETS
        if not near and not (self.can_seek and self._seek(key)) and self._next > key:
            self.close()
            self.open()
        self.video.decoder.flush_buffers()
        while True:
            number, packet = self._next_packet()
            if packet is None:
                return
            if number >= key:
                yield number, packet

    def _next_packet(self) -> tuple[int, av.Packet | None]:
        packet, self._pending = self._pending, None
        while packet is None or packet.size == 0:
            try:
                packet = next(self._demux)
            except StopIteration:
                return self._next, None
            except av.error.FFmpegError as error:
                if is_out_of_memory(error):
                    raise
                return self._next, None
            self.heartbeat()
        number = self._next
        self._next += 1
        return number, packet

    def _seek(self, key: int) -> bool:
        """Seek to the key packet or an earlier one. Returns False if the resulting position is unknown."""
        position = int(np.searchsorted(self.index.key_packets, key))
        for target in (self.index.key_pts[position], self.index.key_dts[position]):
            if target == UNKNOWN:
                continue
            try:
                self.video.container.seek(int(target), stream=self.video.stream, backward=True)
                self._demux = demux(self.video)
                self._pending = next(self._demux, None)
            except av.error.FFmpegError as error:
                if is_out_of_memory(error):
                    raise
                break
            reached = self._pending_number()
            if reached is not None and reached <= key:
                self._next = reached
                return True
        self.can_seek = False
        self._next = key + 1  # unknown: makes packets_from() reopen the file
        return False

    def _pending_number(self) -> int | None:
        packet = self._pending
        if packet is None or packet.size == 0:
            return None
        pts = UNKNOWN if packet.pts is None else packet.pts
        dts = UNKNOWN if packet.dts is None else packet.dts
        return self._key_at.get((pts, dts))
