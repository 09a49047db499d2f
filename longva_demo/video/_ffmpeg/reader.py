"""Numbered packets of a file, from any key packet on. Runs in the worker."""

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

# Errors that FFmpeg logs of whole pictures too.
HARMLESS = (
    # Decoding starts at a key frame of an open GOP.
    "mmco:",
    "co located POCs unavailable",
    "number of reference frames",
    # What a JPEG says beside its picture cannot be read.
    "invalid TIFF header in EXIF data",
    "not enough bytes remaining in EXIF buffer",
    "error decoding EXIF data",
    "mjpeg: invalid TIFF header in EXIF data",  # so up to FFmpeg 7
    "mjpeg: error decoding EXIF data",
    "app: invalid len",
    "unable to decode APP fields",
)
READ_ON_PACKETS = 400  # reading (not decoding) this far is cheaper than a seek, and never lands elsewhere


class PacketReader:
    """Reads numbered packets; goes to a key packet by a seek, or from the start where seeking misleads.

    Decoding goes through it: FFmpeg conceals much of the damage that it meets, and says so in its log alone.
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

    def use_threads(self, most: int) -> None:
        """Decode with at most so many threads. With one, an error belongs to the packet that was fed last."""
        if most != self.max_threads:
            self.max_threads = most
            self.close()
            self.open()

    def open(self) -> None:
        self.video: Video = open_video(self.path, self.limits)
        use_threads(self.video, self.max_threads)
        self._demux = demux(self.video)
        self._next = 0
        self._held: av.Packet | None = None
        self._capture = av.logging.Capture(local=False)
        self._log = self._capture.__enter__()
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)

    def close(self) -> None:
        # A decoder's thread that logs waits for Python's lock, which closing holds: have them finish first.
        self.video.decoder.flush_buffers()
        av.logging.set_level(None)
        self._capture.__exit__(None, None, None)
        self.video.close()

    def decode(self, packet: av.Packet | None) -> tuple[list[VideoFrame], bool]:
        """Return (frames that come out when `packet` goes in, whether the decoder failed or logged an error).

        None drains the decoder. Of several threads, an error may be of a packet that was fed a little earlier.
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
        """Yield (number, packet) from the key packet on, with the decoder's memory of other places cleared."""
        near = self._next <= key <= self._next + READ_ON_PACKETS
        if not near and not (self.can_seek and self._seek(key)) and self._next > key:
            self.close()
            self.open()
        self.video.decoder.flush_buffers()
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
            self.heartbeat()
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
