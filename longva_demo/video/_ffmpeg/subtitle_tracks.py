"""Read a file's subtitle tracks: the text of each cue as the container stores it. Runs in the worker."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.codec import Properties
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.subtitles.stream import SubtitleStream

from longva_demo.video._ffmpeg.container import FORMATS, Heartbeat, is_out_of_memory, open_container

TEXT_CODECS = {"mov_text", "subrip", "text", "ass", "ssa", "webvtt"}  # that containers hold, by FFmpeg's names
MAX_CUES = 100_000  # of all tracks: ten times those of a six-hour film
MAX_CUE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Cue:
    """A text and when it is shown, in seconds on the player's timeline. `end` equals `start` if it is not stored."""

    start: float
    end: float
    text: bytes


@dataclass(frozen=True)
class SubtitleTrack:
    """`codec` is FFmpeg's name. Only text tracks have cues."""

    codec: str
    is_bitmap: bool
    language: str
    is_default: bool
    is_forced: bool
    cues: list[Cue] = field(default_factory=list)

    @property
    def is_text(self) -> bool:
        return self.codec in TEXT_CODECS


def read_subtitle_tracks(path: Path, zero_seconds: float, heartbeat: Heartbeat) -> list[SubtitleTrack]:
    """All subtitle tracks, in the order of the file. A damaged file yields the cues before the damage.

    `zero_seconds` is the file's timestamp at 0 s of the player's timeline (`VideoInfo.zero_seconds`).
    """
    container = open_container(path, {"format_whitelist": FORMATS, "protocol_whitelist": "file"})
    try:
        tracks = {stream.index: track_of(stream) for stream in container.streams.subtitles}
        texts = [stream for stream in container.streams.subtitles if tracks[stream.index].is_text]
        for stream in container.streams:
            if stream not in texts:
                stream.discard = Discard.all  # the demuxer skips it
        for packet in demux(container, texts):
            heartbeat()
            track = tracks.get(packet.stream_index)
            if track is None or packet.pts is None or not 0 < packet.size <= MAX_CUE_BYTES:
                continue
            start = float(packet.pts * (packet.time_base or Fraction(1, 1000))) - zero_seconds
            length = float((packet.duration or 0) * (packet.time_base or Fraction(1, 1000)))
            track.cues.append(Cue(start, start + max(0.0, length), text_of(track.codec, bytes(packet))))
            if sum(len(track.cues) for track in tracks.values()) >= MAX_CUES:
                break
        return list(tracks.values())
    finally:
        container.close()


def track_of(stream: SubtitleStream) -> SubtitleTrack:
    codec = stream.codec_context.codec if stream.codec_context is not None else None
    properties: Any = codec.properties if codec is not None else 0  # an int; its annotation says otherwise
    return SubtitleTrack(
        codec=codec.canonical_name if codec is not None else "unknown codec",
        is_bitmap=bool(properties & Properties.BITMAP_SUB.value),
        language=stream.language or "",
        is_default=bool(stream.disposition & Disposition.default),
        is_forced=bool(stream.disposition & Disposition.forced),
    )


def demux(container: InputContainer, streams: list[SubtitleStream]) -> Iterator[av.Packet]:
    """The packets of these streams, up to the first damage. PyAV raises IndexError for tracks that appear late."""
    while streams:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            continue
        except av.error.FFmpegError as error:
            if is_out_of_memory(error):
                raise
            return


def text_of(codec: str, data: bytes) -> bytes:
    """The text in a packet.

    >>> text_of("mov_text", b"\\x00\\x02Hi\\x00\\x00\\x00\\x0cstyl")
    b'Hi'
    >>> text_of("ass", b"0,0,Default,,0,0,0,,Well, hello")
    b'Well, hello'
    """
    if codec == "mov_text":
        return data[2 : 2 + int.from_bytes(data[:2])]
    if codec in ("ass", "ssa"):
        return data.split(b",", 8)[-1]
    return data
