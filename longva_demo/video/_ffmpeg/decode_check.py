"""Check a container's claims by decoding: which packets yield frames, and which of them are key frames.

Runs in the worker.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.container import (
    CONVERT,
    MAX_THREADS,
    Heartbeat,
    Video,
    demux,
    is_out_of_memory,
    open_video,
    reason,
    use_threads,
)
from longva_demo.video._ffmpeg.orientation import AS_STORED, Orientation, orientation_of
from longva_demo.video._ffmpeg.packets import PacketTable
from longva_demo.video._ffmpeg.picture_sizes import size_signature
from longva_demo.video._ffmpeg.pictures import square_size
from longva_demo.video.limits import DecodeLimits


@dataclass
class DecodeResult:
    """The frames that a decoder output for packets of a file.

    packets, is_key: packet number of each frame, and whether it is a key frame, in output order.
    size, stored_size, orientation, pixel_format, transfer: of the first frame, as displayed and as decoded.
    """

    packets: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    stored_size: tuple[int, int] = (0, 0)
    orientation: Orientation = AS_STORED
    pixel_format: str = ""
    transfer: int = 0
    num_errors: int = 0
    error: str = ""

    def add(self, video: Video, frame: VideoFrame) -> None:
        if not self.packets:
            self.describe(video, frame)
        self.packets.append(frame.pts or 0)
        self.is_key.append(frame.key_frame)

    def describe(self, video: Video, frame: VideoFrame) -> None:
        width, height = square_size(frame.width, frame.height, video.stream.sample_aspect_ratio)
        self.orientation = orientation_of(frame)
        self.stored_size = (frame.width, frame.height)
        self.pixel_format = frame.format.name
        self.transfer = frame.color_trc
        self.size = (height, width) if self.orientation.is_sideways else (width, height)

    @property
    def num_pixels(self) -> int:
        return self.size[0] * self.size[1]


class SpotChecks:
    """Decodes some key packets while the file is read: evenly spaced ones, and those that change the frame size."""

    NUM_CHECKS = 4
    MAX_SIZES = 16

    def __init__(self, video: Video, size_bytes: int) -> None:
        self.results: list[DecodeResult] = []
        self._video = video
        self._step = size_bytes // (self.NUM_CHECKS + 1)
        self._next = self._step
        self._signatures: set[bytes] = set()
        video.decoder.thread_count = 1

    def on_packet(self, number: int, packet: av.Packet) -> None:
        if not packet.is_keyframe:
            return
        is_due = packet.pos is not None and packet.pos >= self._next
        if is_due:
            self._next = (packet.pos or 0) + self._step
        if not self._changes_size(packet) and not is_due:
            return
        result = DecodeResult()
        packet.pts = number
        for sent in (packet, None):
            for frame in tolerant_decode(self._video, sent, result):
                result.add(self._video, frame)
        self._video.decoder.flush_buffers()
        if result.packets == [number]:
            self.results.append(result)

    def _changes_size(self, packet: av.Packet) -> bool:
        context = self._video.decoder
        signature = size_signature(context.codec.canonical_name, context.extradata or b"", packet)
        is_new = bool(signature) and signature not in self._signatures and len(self._signatures) < self.MAX_SIZES
        if is_new:
            self._signatures.add(signature)
        return is_new


def decode_file(
    path: Path,
    limits: DecodeLimits,
    heartbeat: Heartbeat,
    num_frames: int | None = None,
    *,
    key_frames_until: int | None = None,
) -> DecodeResult:
    """Decode from the start until `num_frames` frames are decoded, or to the end. Damaged packets are skipped.

    With `key_frames_until`, only packets before that number are read, and only key frames are decoded: most decoders
    recognise them by their headers.
    """
    if num_frames is not None:
        return decode_file_once(path, limits, heartbeat, 1, num_frames=num_frames)
    result = decode_file_once(path, limits, heartbeat, MAX_THREADS, key_frames_until=key_frames_until)
    if result.error:  # with several threads, a damaged packet can cost intact neighbouring frames
        result = decode_file_once(path, limits, heartbeat, 1, key_frames_until=key_frames_until)
    return result


def decode_file_once(
    path: Path,
    limits: DecodeLimits,
    heartbeat: Heartbeat,
    threads: int,
    num_frames: int | None = None,
    key_frames_until: int | None = None,
) -> DecodeResult:
    video = open_video(path, limits)
    result = DecodeResult()
    try:
        use_threads(video, threads)
        if key_frames_until is not None:
            video.decoder.skip_frame = "NONKEY"
        number = 0
        for packet in packets_or_end(video):
            at_end = packet.size == 0 or number == key_frames_until
            if not at_end:
                packet.pts = number  # the decoder passes it on as the frame's pts, which identifies the packet
                number += 1
            for frame in tolerant_decode(video, None if at_end else packet, result):
                result.add(video, frame)
            heartbeat()
            if at_end or (num_frames is not None and len(result.packets) >= num_frames):
                break
    finally:
        video.close()
    if num_frames is not None:
        del result.packets[num_frames:], result.is_key[num_frames:]
    return result


def packets_or_end(video: Video) -> Iterator[av.Packet]:
    """Demux the video track. A truncated file also ends with an empty packet."""
    try:
        yield from demux(video)
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        yield av.Packet()


def tolerant_decode(video: Video, packet: av.Packet | None, result: DecodeResult) -> list[VideoFrame]:
    try:
        frames = video.decoder.decode(packet)
    except av.error.EOFError:
        return []
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        result.num_errors += packet is not None
        result.error = result.error or reason(error)
        return []
    return [frame for frame in frames if frame.pts is not None]


def check_decodable(path: Path, result: DecodeResult, limits: DecodeLimits) -> None:
    if not result.packets:
        why = f"damaged, or larger than {limits.max_frame_pixels:,} pixels: {result.error or 'no decoder output'}"
        raise VideoError(f"no frame of {path.name} can be decoded ({why})", CONVERT)


def correct_key_flags(
    path: Path,
    video: Video,
    table: PacketTable,
    results: list[DecodeResult],
    limits: DecodeLimits,
    heartbeat: Heartbeat,
) -> bool:
    """Correct the container's key flags that decoding contradicts. Returns whether the decoder reports key frames.

    An AVI without an index and an MP4 without a sync table have all packets flagged as key packets; other files lack
    the first packet's flag. For H.264 and some other codecs, FFmpeg's parser sets correct flags.
    """
    reports_keys = any(is_key for result in results for is_key in result.is_key)
    all_flagged = len(table) > 1 and bool(table.is_key.all())
    if not reports_keys:
        if all_flagged and not video.stream.codec_context.codec.intra_only:
            table.is_key[1:] = False
        return False
    decoded_keys = {
        packet: is_key for result in results for packet, is_key in zip(result.packets, result.is_key, strict=True)
    }
    flags_are_wrong = any(table.is_key[packet] and not is_key for packet, is_key in decoded_keys.items())
    flagged = np.flatnonzero(table.is_key)
    if flags_are_wrong or len(flagged) == 0:
        last = len(table)
    elif flagged[0] > 0:
        last = int(flagged[0])
    else:
        return True
    found = decode_file(path, limits, heartbeat, key_frames_until=last)
    table.is_key[:last] = False
    table.is_key[[packet for packet, is_key in zip(found.packets, found.is_key, strict=True) if is_key]] = True
    return True
