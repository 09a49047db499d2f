"""Read subtitles, in the worker: a file of its own, or the tracks of a video."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from longva_demo.timed_text.encodings import decode_cues
from longva_demo.timed_text.line import clean_text
from longva_demo.timed_text.subtitle_files import TimedText, parse_subtitles, plain_text
from longva_demo.video._ffmpeg.subtitle_tracks import SubtitleTrack, read_subtitle_tracks
from longva_demo.video._worker.main import ParentChannel
from longva_demo.video._worker.wire import Message
from longva_demo.video.limits import DecodeLimits

MAX_LINES = 100_000
UNKNOWN_END_SECONDS = 5.0  # how long a cue without an end is shown, if no other follows


def run_file(request: Message, _payload: bytes, _limits: DecodeLimits, parent: ParentChannel) -> None:
    path = Path(request["path"])
    kind, texts = parse_subtitles(path.read_bytes(), path.name)
    num_dropped = max(0, len(texts) - MAX_LINES)
    parent.send({"kind": "subtitles", "format": kind, "lines": to_lines(texts), "num_dropped": num_dropped})


def run_tracks(request: Message, _payload: bytes, _limits: DecodeLimits, parent: ParentChannel) -> None:
    """Send the lines of the best text track, and what other tracks there are."""
    tracks = read_subtitle_tracks(Path(request["path"]), request["zero_seconds"], parent.heartbeat)
    best = best_track(tracks)
    texts: list[TimedText] = []
    if best is not None:
        cues = tracks[best].cues
        decoded = decode_cues([cue.text for cue in cues])
        texts = [
            (cue.start, cue.end, plain_text(tracks[best].codec, text)) for cue, text in zip(cues, decoded, strict=True)
        ]
    parent.send({"kind": "subtitles", "tracks": list(map(facts, tracks)), "best": best, "lines": to_lines(texts)})


def best_track(tracks: list[SubtitleTrack]) -> int | None:
    """The text track that a player would show: not one for foreign parts only, and the default one if there is one."""
    texts = [number for number, track in enumerate(tracks) if track.cues]
    return min(texts, key=lambda number: (tracks[number].is_forced, not tracks[number].is_default), default=None)


def facts(track: SubtitleTrack) -> dict[str, Any]:
    return {"codec": track.codec, "is_bitmap": track.is_bitmap, "language": track.language, "is_text": track.is_text}


def to_lines(texts: list[TimedText]) -> list[TimedText]:
    """Sorted by time, each one line of clean text; without empty ones. Missing ends are filled in."""
    ordered = sorted(texts, key=lambda text: text[:2])[:MAX_LINES]
    following = dict(pairwise(sorted({start for start, _, _ in ordered})))
    lines = []
    for start, end, text in ordered:
        if end <= start:
            end = min(following.get(start, start + UNKNOWN_END_SECONDS), start + UNKNOWN_END_SECONDS)
        if cleaned := clean_text(text):
            lines.append((start, end, cleaned))
    return lines
