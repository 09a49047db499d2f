"""Videos with subtitle tracks."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

Cue = tuple[float, float, str]
MILLISECONDS = Fraction(1, 1000)
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,20,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class Track(NamedTuple):
    """A subtitle track. `encode`: its packets are these bytes, without an encoder of FFmpeg."""

    codec: str
    cues: Sequence[Cue]
    language: str = ""
    disposition: int = 0
    encode: Callable[[str], bytes] | None = None


def add_tracks(video: Path, target: Path, *tracks: Track, offset: float = 0.0) -> Path:
    """Copy a video's packets, `offset` seconds later, and add subtitle tracks. Times of cues are the file's own."""
    with av.open(str(video)) as source, av.open(str(target), "w") as output:
        picture = output.add_stream_from_template(source.streams.video[0])
        streams = [open_track(output, track) for track in tracks]
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts += round(offset / packet.time_base)
                packet.dts += round(offset / packet.time_base)
                packet.stream = picture
                output.mux(packet)
        for stream, track in zip(streams, tracks, strict=True):
            for cue in track.cues:
                output.mux(cue_packet(stream, track, cue))
    return target


def open_track(output: av.container.OutputContainer, track: Track) -> av.stream.Stream:
    if track.encode is not None:
        stream = output.add_mux_stream(track.codec, time_base=MILLISECONDS)
    else:
        stream = output.add_stream(track.codec)
        stream.time_base = MILLISECONDS
        stream.codec_context.time_base = MILLISECONDS
        stream.codec_context.subtitle_header = ASS_HEADER
    stream.disposition = track.disposition
    if track.language:
        stream.metadata["language"] = track.language
    return stream


def cue_packet(stream: av.stream.Stream, track: Track, cue: Cue) -> av.Packet:
    start, end, text = cue
    if track.encode is not None:
        packet = av.Packet(track.encode(text))
    else:
        event = f"0,0,Default,,0,0,0,,{text}".encode()
        subtitle = av.subtitles.subtitle.SubtitleSet.create(event, 0, round(1000 * (end - start)), 0)
        packet = stream.codec_context.encode_subtitle(subtitle)
    packet.stream, packet.time_base = stream, MILLISECONDS
    packet.pts = packet.dts = round(1000 * start)
    packet.duration = round(1000 * (end - start))
    packet.is_keyframe = True
    return packet
