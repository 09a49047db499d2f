"""Write decoded frames to the preview's MP4 file. Runs in the worker."""

import errno
import os
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.frames import exact_frames
from longva_demo.video._ffmpeg.key_frames import KeyFrames
from longva_demo.video._ffmpeg.pictures import PictureWriter
from longva_demo.video._ffmpeg.reader import PacketReader

TIME_BASE = Fraction(1, 90_000)
GOP_FRAMES = 15  # a seek decodes at most this many frames
REPORT_SECONDS = 0.25
# Without B-frames, decoding and presentation times are equal, so the file starts at 0 without an edit list.
ENCODER = {"preset": "superfast", "crf": "26", "bf": "0", "g": str(GOP_FRAMES)}

Report = Callable[[float, int], None]  # share of the video processed, frames written


class PreviewFile:
    """Writes an MP4: H.264, 4:2:0, with the moov box in front."""

    def __init__(self, path: Path, width: int, height: int, scale: tuple[float, float]) -> None:
        self.num_frames = 0
        self._pictures = PictureWriter(width, height, scale)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)
        self._output = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._output.add_stream("libx264", rate=15, options=ENCODER)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = TIME_BASE
        context.thread_count = 2
        # Set explicitly, since the defaults of browsers differ: BT.709, limited range.
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        self._pending: av.Packet | None = None
        self._pts = -1

    def add(self, frame: VideoFrame, seconds: float) -> None:
        """Append a frame that is shown from `seconds` on: never later, at most 1/90,000 s earlier."""
        self._pictures.write(frame, self._pixels)
        picture = VideoFrame.from_ndarray(self._pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        self._pts = max(self._pts + 1, int(seconds / TIME_BASE + 1e-4))
        picture.pts, picture.time_base = self._pts, TIME_BASE
        self._mux(self._stream.encode(picture))
        self.num_frames += 1

    def finish(self, end_seconds: float) -> None:
        """Show the last frame until `end_seconds`, and finish the file."""
        self._mux(self._stream.encode(None))
        if self._pending is not None:
            end = int(end_seconds / TIME_BASE)
            self._pending.duration = max(1, end - (self._pending.pts or 0))
            self._output.mux(self._pending)
        self._output.close()

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            if self._pending is not None:
                self._output.mux(self._pending)
            self._pending = packet


def write_preview(
    reader: PacketReader, seconds: dict[int, float], preview: PreviewFile, full_decode_seconds: float, report: Report
) -> None:
    """Decode and add the frames of `seconds`, {packet number: time} in display order.

    After `full_decode_seconds`, later GOPs contribute only their first frame.
    """
    start = time.monotonic()
    num_processed = 0
    keys = KeyFrames(reader)
    progress = Progress(len(seconds), preview, report)
    for _, packets in groupby(seconds, key=reader.index.start_for):
        gop = list(packets)
        wanted = gop if time.monotonic() - start < full_decode_seconds else gop[:1]
        for position, (packet, frame) in enumerate(exact_frames(reader, wanted, set(), keys)):
            preview.add(frame, seconds[packet])
            progress.update(num_processed + position)
        num_processed += len(gop)


def write_all(
    frames: Iterable[tuple[int, VideoFrame]], seconds: dict[int, float], preview: PreviewFile, report: Report
) -> None:
    """Add all frames, with the times of `seconds`."""
    progress = Progress(len(seconds), preview, report)
    for position, (packet, frame) in enumerate(frames):
        preview.add(frame, seconds[packet])
        progress.update(position)


class Progress:
    """Reports progress every `REPORT_SECONDS`."""

    def __init__(self, num_frames: int, preview: PreviewFile, report: Report) -> None:
        self._num_frames = num_frames
        self._preview = preview
        self._report = report
        self._reported = time.monotonic()

    def update(self, position: int) -> None:
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            self._report(position / self._num_frames, self._preview.num_frames)


def write_error(name: str, error: Exception) -> VideoError | None:
    """A VideoError for a disk error; None for any other error."""
    number = getattr(error, "errno", None)
    if number in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EACCES, errno.EROFS):
        return VideoError(f"the preview of {name} cannot be written ({os.strerror(number)})", "free some space")
    return None
