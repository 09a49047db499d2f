"""Subtitles: a given file, one beside the video, or the video's own tracks. A worker reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longva_demo.errors import VideoError
from longva_demo.timed_text.line import Line, in_order
from longva_demo.timed_text.packages import check_installed
from longva_demo.timed_text.update import Request, Update
from longva_demo.video import DecodeLimits, VideoInfo
from longva_demo.video._worker.process import Role, WorkerProcess
from longva_demo.video.limits import MIB
from longva_demo.video.probe import check_unchanged

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
MAX_FILE_BYTES = 16 * MIB  # a two-hour film has some 0.1 MB, and 5 MB with fonts
WORKER = "longva_demo.timed_text.subtitle_worker"
READER = Role("subtitle reader", "reading subtitles", "convert the subtitles to SubRip and try again")


def read_subtitles(info: VideoInfo, request: Request, limits: DecodeLimits) -> Iterator[Update]:
    """One update, with all lines.

    Raises:
        DemoError: the given file cannot be read, or a package is missing.
    """
    check_installed("subtitles")
    found: dict[str, Any] | None = None
    notes = []
    if (file := request.subtitles or (beside(info.path) if request.looks_beside else None)) is not None:
        try:
            found = read_file(file, limits)
            notes = [f"The subtitles are those of {file.name} ({found['format']})."]
            if found["num_dropped"]:
                notes.append(f"The last {found['num_dropped']:,} subtitles were dropped; split the file.")
        except VideoError as error:
            if request.subtitles is not None:
                raise
            notes = [f"The file beside the video was not used: {error}."]  # the video may have its own
    if found is None:
        check_unchanged(info.path, info, limits)
        found = call(info.path, limits, "run_tracks", zero_seconds=info.zero_seconds)
        notes += track_notes(info.path.name, found["tracks"], found["best"])
    end_seconds = info.duration_seconds if request.end_seconds is None else request.end_seconds
    lines = [
        Line(max(0.0, start), end, text, "subtitles")
        for start, end, text in found["lines"]
        if end > request.start_seconds and start < end_seconds
    ]
    num_late = sum(start >= info.duration_seconds for start, _, _ in found["lines"])
    if num_late:
        notes.append(f"Subtitles after the end of the video: {num_late:,} of {len(found['lines']):,}.")
    yield Update("subtitles", tuple(in_order(lines)), 1, 1, tuple(notes))


def beside(video: Path) -> Path | None:
    """The subtitle file beside a video: clip.srt, or else one with a language, such as clip.en.srt."""
    exact = [video.with_suffix(suffix) for suffix in SUFFIXES]
    try:
        others = sorted(file for file in video.parent.iterdir() if file.name.startswith(f"{video.stem}."))
    except OSError:
        return None
    return next((file for file in (*exact, *others) if file.suffix.lower() in SUFFIXES and file.is_file()), None)


def read_file(file: Path, limits: DecodeLimits) -> dict[str, Any]:
    """The worker's message about a subtitle file.

    Raises:
        VideoError: it cannot be read, is too large, or is not a subtitle file.
    """
    try:
        size_bytes = file.stat().st_size
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise VideoError(f"{file.name or file} {reason}", "check the path of the subtitles") from None
    if not file.is_file():
        raise VideoError(f"{file} is not a regular file", "choose a subtitle file")
    if size_bytes > MAX_FILE_BYTES:
        sizes = f"{size_bytes / MIB:.1f} MB, above the limit of {MAX_FILE_BYTES / MIB:.0f} MB"
        raise VideoError(f"{file.name} is {sizes}", "choose a file with fewer subtitles")
    return call(file, limits, "run_file")


def call(path: Path, limits: DecodeLimits, function: str, **more: Any) -> dict[str, Any]:
    request = {"task": "call", "function": f"{WORKER}:{function}", "path": str(path.resolve()), **more}
    with WorkerProcess(path.name, {**request, "limits": limits.to_dict()}, b"", limits, role=READER) as worker:
        message, _ = worker.receive()
    return message


def track_notes(name: str, tracks: list[dict[str, Any]], best: int | None) -> list[str]:
    """What a user should know about the subtitle tracks of a file."""
    if not tracks:
        return [f"{name} has no subtitles."]
    notes = []
    if best is not None:
        others = [track for number, track in enumerate(tracks) if number != best and track["is_text"]]
        more = f"; not used: {', '.join(map(title_of, others))}" if others else ""
        notes.append(f"The subtitles are those of {name} ({title_of(tracks[best])}{more}).")
    elif any(track["is_text"] for track in tracks):
        notes.append(f"The subtitle tracks of {name} are empty.")
    bitmaps = [track for track in tracks if track["is_bitmap"]]
    if bitmaps:
        codecs = ", ".join(map(title_of, bitmaps))
        notes.append(f"{name} has bitmap subtitles ({codecs}), which are pictures without text and cannot be read.")
    unknown = [track["codec"] for track in tracks if not (track["is_text"] or track["is_bitmap"])]
    if unknown:
        notes.append(f"{name} has subtitles in a format that cannot be read ({', '.join(unknown)}).")
    return notes


def title_of(track: dict[str, Any]) -> str:
    """
    >>> title_of({"codec": "subrip", "language": "eng"})
    'SubRip, eng'
    """
    codec = {"subrip": "SubRip", "webvtt": "WebVTT", "ass": "ASS", "ssa": "SSA"}.get(track["codec"], track["codec"])
    return f"{codec}, {track['language']}" if track["language"] else codec
