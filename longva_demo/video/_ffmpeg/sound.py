"""Read a file's sound as mono samples at 16 kHz, with their times. Runs in the worker."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from longva_demo.video._ffmpeg.container import FORMATS, Heartbeat, is_out_of_memory, open_container

SAMPLE_RATE = 16_000
PREROLL_SECONDS = 1.0  # a seek ends at a packet before the start; its decoder needs a few more


@dataclass(frozen=True)
class Sound:
    """Samples that follow each other. `seconds` is the time of the first on the player's timeline.

    samples: float32 (samples,) in [-1, 1], mono at SAMPLE_RATE.
    """

    seconds: float
    samples: np.ndarray


def read_sound(path: Path, zero_seconds: float, start: float, end: float, heartbeat: Heartbeat) -> Iterator[Sound]:
    """Yield the main audio track from `start` to `end` (seconds); nothing if there is none.

    A damaged file yields what can be decoded. `zero_seconds` is the file's timestamp at 0 s of the player's timeline.
    """
    container = open_container(path, {"format_whitelist": FORMATS, "protocol_whitelist": "file"})
    try:
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream) or stream.codec_context is None:
            return
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        if start > PREROLL_SECONDS:
            seek(container, zero_seconds + start - PREROLL_SECONDS)
        for sound in resampled(decoded_frames(container, stream, heartbeat), zero_seconds):
            if sound.seconds >= end:
                return
            first = max(0, round((start - sound.seconds) * SAMPLE_RATE))
            last = max(0, round((end - sound.seconds) * SAMPLE_RATE))
            if first < min(last, len(sound.samples)):
                yield Sound(sound.seconds + first / SAMPLE_RATE, sound.samples[first:last])
    finally:
        container.close()


def seek(container: InputContainer, seconds: float) -> None:
    """Move to a packet before this time, if the container can."""
    try:
        container.seek(round(seconds * av.time_base))
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise


def decoded_frames(container: InputContainer, stream: AudioStream, heartbeat: Heartbeat) -> Iterator[AudioFrame]:
    """The frames that can be decoded. Damaged packets are skipped."""
    packets = container.demux(stream)
    while True:
        heartbeat()
        try:
            packet = next(packets, None)
        except IndexError:  # a track that appears in the middle of a damaged transport stream
            packets = container.demux(stream)
            continue
        except av.error.FFmpegError as error:
            if is_out_of_memory(error):
                raise
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError as error:
            if is_out_of_memory(error):
                raise


def resampled(frames: Iterator[AudioFrame], zero_seconds: float) -> Iterator[Sound]:
    """Mono at SAMPLE_RATE. A frame without a time follows the one before."""
    resampler, kind, next_seconds = None, None, 0.0
    for frame in frames:
        if resampler is None or kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        if frame.pts is not None:
            next_seconds = float(frame.pts * (frame.time_base or Fraction(1, SAMPLE_RATE))) - zero_seconds
        frame.pts = None
        for part in resampler.resample(frame):
            samples = np.nan_to_num(part.to_ndarray().reshape(-1)).clip(-1.0, 1.0)
            yield Sound(next_seconds, samples)
            next_seconds += len(samples) / SAMPLE_RATE
