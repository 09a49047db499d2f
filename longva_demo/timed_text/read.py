"""Read the lines of a video from all sources that are asked for."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from longva_demo.errors import DemoError
from longva_demo.timed_text.line import SOURCES, Line
from longva_demo.timed_text.packages import INSTALL, PURPOSES, check_installed, is_installed
from longva_demo.timed_text.screen import read_screen
from longva_demo.timed_text.search import matching_lines
from longva_demo.timed_text.speech import recognise_speech
from longva_demo.timed_text.store import LineStore, user_folder
from longva_demo.timed_text.subtitles import read_subtitles
from longva_demo.timed_text.update import NUM_FRAMES, SPEECH_MODEL, Collected, Request, Update, parse_sources
from longva_demo.times import to_seconds
from longva_demo.video import DecodeLimits, VideoInfo, plan_frames, probe

VERSION = 1  # of what the sources give, for stored results
MIN_INTERVAL_SECONDS, INTERVAL_SHARE = 0.5, 0.05
Reader = Callable[[VideoInfo, Request, DecodeLimits], Iterator[Update]]
READERS: dict[str, Reader] = {"subtitles": read_subtitles, "speech": recognise_speech, "screen": read_screen}


def read_lines(info: VideoInfo, request: Request, limits: DecodeLimits | None = None) -> Iterator[Update]:
    """Yield updates, one source after the other. Closing the iterator stops the worker.

    A source that fails costs a note in its last update, unless all of them fail.

    Raises:
        DemoError: the range is outside the video, the number of frames is not valid, or no source could be read.
    """
    limits = limits or DecodeLimits()
    plan_frames(info, request.num_frames, request.start_seconds, request.end_seconds)  # checks them
    errors = []
    for source in request.sources:
        lines: tuple[Line, ...] = ()
        try:
            for update in stored(source, info, request, limits):
                lines = update.lines
                yield update
        except DemoError as error:
            errors.append(error)
            if len(errors) == len(request.sources):
                raise errors[0] from None
            yield Update(source, lines, 1, 1, (f"{source}: {error}",))


def stored(source: str, info: VideoInfo, request: Request, limits: DecodeLimits) -> Iterator[Update]:
    """The updates of a source; one with all lines, if the same was read before."""
    if request.store is None or source == "subtitles":
        yield from READERS[source](info, request, limits)
        return
    chosen = request.speech_model if source == "speech" else request.num_frames
    key = (info.sha256, VERSION, source, chosen, request.start_seconds, request.end_seconds)
    lines = request.store.get(key)
    if lines is not None:
        check_installed(source)
        yield Update(source, tuple(lines), 1, 1)
        return
    update = None
    for update in READERS[source](info, request, limits):
        yield update
    if update is not None and update.lines:  # without lines, its notes say why
        request.store.put(key, update.lines)


def seldom(updates: Iterator[Update]) -> Iterator[Update]:
    """Those updates that complete a source, and others at growing intervals: each has all lines of its source."""
    started = shown_at = time.monotonic()
    with closing(updates):  # type: ignore[type-var]
        for update in updates:
            now = time.monotonic()
            if update.is_complete or now - shown_at > max(MIN_INTERVAL_SECONDS, INTERVAL_SHARE * (now - started)):
                shown_at = now
                yield update


def installed_sources() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (the sources whose packages are installed, one sentence for each other one)."""
    found = tuple(source for source in READERS if is_installed(source))
    missing = [source for source in READERS if source not in found]
    return found, tuple(f"No {source}: {PURPOSES[source]} needs more packages; {INSTALL}." for source in missing)


def words(
    path: str | Path,
    sources: str | Sequence[str] | None = None,
    *,
    subtitles: str | Path | None = None,
    search: str = "",
    frames: int = NUM_FRAMES,
    start: float | str = 0.0,
    end: float | str | None = None,
    speech_model: str = SPEECH_MODEL,
) -> list[Line]:
    """What is said and written in a video, sorted by time.

    Args:
        path: a video file.
        sources: "subtitles", "speech" and "screen"; by default all whose packages are installed.
        subtitles: a subtitle file, in place of the video's own or the one beside it.
        search: only the lines that match these words.
        frames: how many frames are searched for text.
        start, end: the range, in seconds or as "h:mm:ss".
        speech_model: a name of faster-whisper, such as "small", or a folder.

    Raises:
        DemoError: the file cannot be used, no source can be read, or a package is missing.
    """
    if sources is None:
        named = installed_sources()[0]
    else:
        named = parse_sources(sources if isinstance(sources, str) else ",".join(sources))
    request = Request(
        sources=named,
        subtitles=None if subtitles is None else Path(subtitles),
        num_frames=frames,
        start_seconds=to_seconds(start),
        end_seconds=None if end is None else to_seconds(end),
        speech_model=speech_model,
        store=LineStore(user_folder()),
    )
    if not named:
        check_installed(SOURCES[0])
    found = Collected()
    for update in read_lines(probe(Path(path)), request):
        found.add(update)
    return matching_lines(found.lines, search)
