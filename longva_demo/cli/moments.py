"""`longva-demo find` and `longva-demo chapters`: questions about each part of a video."""

from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from longva_demo.cli.commands import make_settings, named_lines, quick_imports
from longva_demo.cli.terminal import print_json, print_json_list, say, say_progress
from longva_demo.settings import Settings
from longva_demo.times import format_time
from longva_demo.video import DecodeLimits, VideoInfo, plan_frames, probe

if TYPE_CHECKING:  # torch is imported late
    from longva_demo.chat import Progress

STAGES = {"sampling": "sampling frame", "windows": "asking about frame"}
CHAPTER_STAGES = {"sampling": "sampling frame", "windows": "describing scene"}


def find(options: Namespace) -> None:
    """Print the ranges, or everything as JSON. Interrupted, it prints what is found so far."""
    settings, limits, info = open_video(options)
    with quick_imports():
        from longva_demo.chat import Capability, VideoSource, open_engine
        from longva_demo.chat.open_engine import in_process
        from longva_demo.moments import Moments, Search, default_frames, find_moments
        from longva_demo.moments.export import ranges_csv, ranges_vtt

    search = Search(options.query, options.precision, options.window)
    engine = in_process(open_engine(settings), Capability.WINDOWS)
    plan = plan_frames(info, options.num_frames or default_frames(engine), options.start, options.end)
    say(engine.model.reason)
    found = Moments()
    with closing(VideoSource(info, plan, engine.processor, settings.decoder, limits)) as source:
        try:
            for found in find_moments(engine, source, search, lambda: False):
                report(found.progress, STAGES)
        except KeyboardInterrupt:
            say(f"stopped after {len(found.frames):,} frames")
    for note in found.notes:
        say(f"note: {note}")
    if options.json:
        print_json(**found.to_dict())
    elif options.format:
        print(ranges_csv(found.ranges) if options.format == "csv" else ranges_vtt(found.ranges, options.query), end="")
    else:
        for one in found.ranges:
            start, end, best = (format_time(seconds, 1) for seconds in (one.start, one.end, one.best))
            print(f"{start} – {end}   score {one.score:.2f}, best at {best}")
        if not found.ranges:
            print(f"not found in {len(found.frames):,} frames, {plan.seconds_between:.2g} s apart")


def chapters(options: Namespace) -> None:
    """Print the scenes of a video with one line about each. Interrupted, it prints those described so far."""
    settings, limits, info = open_video(options)
    lines = named_lines(options.words, info, limits)
    with quick_imports():
        from longva_demo.chat import Capability, VideoSource, open_engine
        from longva_demo.chat.open_engine import in_process
        from longva_demo.moments.chapters import NUM_FRAMES, Outline, find_chapters
        from longva_demo.moments.export import chapters_markdown, chapters_vtt

    engine = in_process(open_engine(settings), Capability.WINDOWS)
    plan = plan_frames(info, options.num_frames or NUM_FRAMES, options.start, options.end)
    say(engine.model.reason)
    outline = Outline()
    with closing(VideoSource(info, plan, engine.processor, settings.decoder, limits)) as source:
        try:
            for outline in find_chapters(engine, source, lambda: False, lines):
                report(outline.progress, CHAPTER_STAGES)
        except KeyboardInterrupt:
            say(f"stopped after {len(outline.chapters):,} scenes")
        notes = (*source.notes, *outline.notes)
    for note in notes:
        say(f"note: {note}")
    if options.json:
        print_json_list(outline.to_list())
    elif options.format:
        write = chapters_vtt if options.format == "vtt" else chapters_markdown
        print(write(outline.chapters), end="")
    else:
        for one in outline.chapters:
            print(f"{format_time(one.start, 1)} – {format_time(one.end, 1)}   {one.title}")


def open_video(options: Namespace) -> tuple[Settings, DecodeLimits, VideoInfo]:
    """Errors in the file and in the range come before the model is loaded, which takes long."""
    settings = make_settings(options)
    limits = DecodeLimits.from_settings(settings)
    info = probe(Path(options.video), limits=limits)
    plan_frames(info, 1 if options.num_frames is None else options.num_frames, options.start, options.end)
    return settings, limits, info


def report(progress: "Progress | None", stages: dict[str, str]) -> None:
    if progress is not None and progress.done:
        say_progress(stages[progress.stage], progress.done, progress.total)
