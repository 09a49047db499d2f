"""`longva-demo words`: what is said and written in a video."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from longva_demo.cli.commands import make_settings
from longva_demo.cli.terminal import print_json_list, say, say_progress
from longva_demo.errors import DemoError, short
from longva_demo.timed_text import (
    SOURCES,
    Collected,
    Line,
    Request,
    installed_sources,
    matching_lines,
    parse_sources,
    read_lines,
    write_lines,
)
from longva_demo.timed_text.packages import check_installed
from longva_demo.timed_text.store import LineStore, user_folder
from longva_demo.times import format_time
from longva_demo.video import DecodeLimits, probe

UNITS = {"speech": "listening to second", "screen": "reading frame"}  # of the progress; subtitles have none


def words(options: argparse.Namespace) -> None:
    """Print the lines of a video; after Ctrl-C, those that were found so far."""
    if options.search is not None:
        check_installed("search")
    settings = make_settings(options)
    request, notes = make_request(options, settings.speech_model)
    limits = DecodeLimits.from_settings(settings)
    info = probe(Path(options.video), limits=limits)
    found, was_stopped = Collected(), False
    try:
        for update in read_lines(info, request, limits):
            found.add(update)
            if update.source in UNITS:
                say_progress(UNITS[update.source], int(update.done), int(update.total))
    except KeyboardInterrupt:
        was_stopped = True
        notes.append("stopped; these are the lines found so far")
    matching = matching_lines(found.lines, options.search or "")
    if found.lines and not matching:
        notes.append(f"no line matches {short(options.search)}; {len(found.lines):,} searched")
    for note in (*notes, *found.notes):
        say(f"note: {note}")
    print_lines(matching, options)
    if was_stopped:
        raise KeyboardInterrupt


def make_request(options: argparse.Namespace, speech_model: str) -> tuple[Request, list[str]]:
    """Return (what to read, notes on sources whose packages are missing)."""
    notes: Sequence[str] = ()
    if options.sources is not None:
        sources = parse_sources(options.sources)
    else:
        sources, notes = installed_sources()
        if not sources:
            check_installed(SOURCES[0])
    if options.subtitles is not None and "subtitles" not in sources:
        raise DemoError("--subtitles is given, but the source subtitles is not", "add it to --sources")
    request = Request(
        sources=sources,
        subtitles=None if options.subtitles is None else Path(options.subtitles),
        num_frames=options.searched_frames,
        start_seconds=options.start,
        end_seconds=options.end,
        speech_model=speech_model,
        store=LineStore(user_folder()),
    )
    return request, list(notes)


def print_lines(lines: list[Line], options: argparse.Namespace) -> None:
    if options.json:
        print_json_list([line.to_dict() for line in lines])
    elif options.format:
        print(write_lines(lines, options.format), end="")
    else:
        for line in lines:
            print(f"{format_time(line.start, 1):>9} – {format_time(line.end, 1):<9}  {line.source:<9}  {line.text}")
