"""The commands behind `python -m longva_demo`. Results go to standard output, progress to standard error."""

import gc
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longva_demo.cli.terminal import print_json, say, say_progress
from longva_demo.errors import DemoError, one_line, replace_surrogates
from longva_demo.settings import SETTINGS, Settings
from longva_demo.timed_text.packages import is_installed
from longva_demo.times import format_time
from longva_demo.video import DecodeLimits, FramePlan, VideoInfo, decode_frames, plan_frames, probe
from longva_demo.video.sheet import check_sheet, contact_sheet
from longva_demo.video.still import is_picture

if TYPE_CHECKING:  # torch is imported late
    from longva_demo.chat import ChatSession
    from longva_demo.timed_text import Line

STAGES = {"sampling": "sampling frame", "prefill": "reading frame", "question": "reading token"}


def serve(options: Namespace) -> None:
    """Load the model and serve the page until interrupted."""
    settings = make_settings(options)
    with quick_imports():
        from longva_demo.server import serve_page

    serve_page(settings)


def ask(options: Namespace) -> None:
    """Answer one question about a video or picture. The input is checked before the model is loaded."""
    settings = make_settings(options)
    if not options.question.strip():
        raise DemoError("the question is empty", 'write it after the video, in quotes: "What happens?"')
    path, limits = Path(options.video), DecodeLimits.from_settings(settings)
    info, plan = (None, None) if is_picture(path) else plan_video(path, settings, options)
    lines = [] if options.words == "auto" and not is_installed("search") else named_lines(options.words, info, limits)
    # Imported late: torch takes seconds to import, and an error about the video should not wait for it.
    with quick_imports():
        from longva_demo.chat import ChatSession, ImageSource, Progress, Sampling, Source, VideoSource, open_engine
        from longva_demo.chat.lines import BUILTIN_MODEL, ChatLines

    sampling = Sampling(options.temperature, options.top_p, settings.max_new_tokens)
    engine = open_engine(settings)
    source: Source
    if info is None or plan is None:
        source = ImageSource(path, engine.processor, limits)
    else:
        if options.num_frames is None and engine.default_frames != settings.num_frames:
            plan = plan_frames(info, engine.default_frames, options.start, options.end)
        source = VideoSource(info, plan, engine.processor, settings.decoder, limits, options.number_frames)
    with closing(ChatSession(engine)) as session:
        session.set_source(source)
        session.lines = ChatLines(lines) if lines else None
        say(engine.model.reason)
        if lines and options.words != "auto" and engine.model.id == BUILTIN_MODEL:
            say(f"note: the built-in model cannot read lines; {options.words} is not used")
        if (estimate := engine.model.estimate) is not None:
            seconds = estimate.first_word(source.num_frames)
            say(f"{source.num_frames:,} frames: about {seconds:,.0f} s to the first word")
        for event in session.ask(replace_surrogates(options.question), sampling):
            if isinstance(event, Progress):
                say_progress(STAGES[event.stage], event.done, event.total)
            elif not options.json:
                print(event.text, end="", flush=True)
        for note in session.notes:
            say(f"note: {note}")
        if session.turns[-1].lines:
            say(f"the model was given {len(session.turns[-1].lines):,} lines of what is said and written")
        if options.json:
            print_json(**answer_facts(session))
        else:
            print()


def named_lines(choice: str, info: VideoInfo | None, limits: DecodeLimits) -> "list[Line]":
    """The lines that --words names: none, auto (the video's subtitles), or a file.

    Without subtitles that can be read, auto has no lines: nobody asked for any.
    """
    if choice == "none" or (choice == "auto" and (info is None or not is_installed("subtitles"))):
        return []
    from longva_demo.timed_text import Collected, Request, read_json, read_lines

    if choice.lower().endswith(".json"):
        return read_json(Path(choice))
    if info is None:
        raise DemoError(f"--words {choice} is given, but the file is a picture", "leave --words out")
    found = Collected()
    subtitles = None if choice == "auto" else Path(choice)
    try:
        for update in read_lines(info, Request(sources=("subtitles",), subtitles=subtitles), limits):
            found.add(update)
    except DemoError as error:
        if subtitles is not None:
            raise
        say(f"note: the video's subtitles are not used: {error}")
    if subtitles is not None and not found.lines:
        for note in found.notes:
            say(f"note: {note}")
    return found.lines


def answer_facts(session: "ChatSession") -> dict[str, Any]:
    """The last answer, for JSON."""
    turn, model = session.turns[-1], session.engine.model
    return {
        "answer": turn.answer,
        "model": model.id,
        "quant": model.quant,
        "frames": [{"index": frame.index, "seconds": frame.seconds} for frame in session.frames],
        "num_tokens": turn.stats.num_tokens,
        "seconds_to_first_token": turn.stats.seconds_to_first_token,
        "tokens_per_second": turn.stats.tokens_per_second,
        "words": [line.to_dict() for line in turn.lines],
        "notes": session.notes,
    }


def frames(options: Namespace) -> None:
    """Print which frames a budget samples; with --sheet, write them as one picture too."""
    settings = make_settings(options)
    path = Path(options.video)
    if options.sheet:
        check_sheet(Path(options.sheet))
    info, plan = plan_video(path, settings, options)
    notes = [*info.notes, *([plan.note] if plan.note else [])]
    if options.sheet:
        notes += write_sheet(Path(options.sheet), path, info, plan, settings)
    if options.json:
        planned = zip(plan.indices, plan.seconds, strict=True)
        print_json(
            video=info.to_dict(), frames=[{"index": index, "seconds": time} for index, time in planned], notes=notes
        )
        return
    size = f"{info.width} × {info.height}, {info.codec}, {info.fps:.4g} frames per second"
    print(f"{one_line(path.name)}: {info.num_frames:,} frames, {format_time(info.duration_seconds, 1)}, {size}")
    for index, seconds in zip(plan.indices, plan.seconds, strict=True):
        print(f"{index:>8}  {format_time(seconds, 1)}")
    for note in notes:
        say(f"note: {note}")


def replay(options: Namespace) -> None:
    """Ask the questions of a saved chat again and print both answers. --model replaces the chat's own model."""
    with quick_imports():
        from longva_demo.chat import Progress, open_engine, read_record
        from longva_demo.chat.lines import BUILTIN_MODEL
        from longva_demo.chat.replay import check_file, open_recorded, replay

    record = read_record(Path(options.record))
    path = Path(options.video) if options.video else None
    check_file(record, path)
    if options.model is None:
        options.model, options.dtype = record.model.id, options.dtype or record.model.dtype
        options.quant = options.quant or record.model.quant
    settings = make_settings(options)
    engine = open_engine(settings)
    source = open_recorded(record, path, engine.processor, DecodeLimits.from_settings(settings))
    if engine.model.revision != record.model.revision:
        say(f"note: the chat used revision {record.model.revision}; this is {engine.model.revision}")
    if any(turn.lines for turn in record.turns) and engine.model.id == BUILTIN_MODEL:
        say("note: the built-in model is not given the lines of what is said and written")
    if any(turn.temperature > 0 for turn in record.turns):
        say("note: the answers were sampled (temperature above 0), so the new ones may differ")
    results = []
    for event in replay(engine, record, source):
        if isinstance(event, Progress):
            say_progress(STAGES[event.stage], event.done, event.total)
        else:
            results.append(event)
            if not options.json:
                old, new = one_line(event.old), one_line(event.new)
                verdict = "equal" if event.equal else "NOT equal"
                print(f"{one_line(event.question)}\n  then: {old}\n  now:  {new}\n  {verdict}", flush=True)
    if options.json:
        print_json(
            equal=all(result.equal for result in results),
            model=engine.model.id,
            revision=engine.model.revision,
            quant=engine.model.quant,
            turns=[{"question": r.question, "old": r.old, "new": r.new, "equal": r.equal} for r in results],
        )
    else:
        print(f"{sum(result.equal for result in results)} of {len(results)} answers are equal")


def export(options: Namespace) -> None:
    """Write a model as a repository for plain transformers."""
    with quick_imports():
        from longva_demo.model.export import export as write

    folder = Path(options.folder).expanduser()
    write(options.model, folder, lambda done, total: say_progress("writing weights", done, total))
    print(f"{folder}: load it with from_pretrained(..., trust_remote_code=True); README.md has an example")


def capacity(options: Namespace) -> None:
    """Calculate how many people a number of GPUs can serve."""
    with quick_imports():
        from longva_demo.chat.capacity import Capacity

    found = Capacity(options.frames, options.gpus, options.users)
    found.cost.check()
    if options.json:
        print_json(**found.facts())
    else:
        print(found.report())


def mcp(options: Namespace) -> None:
    """Serve the tools of MCP to the program that started this command."""
    require_packages("mcp")
    with quick_imports():
        from longva_demo.server.mcp.stdio import serve_stdio

    serve_stdio(make_settings(options))


def doctor(options: Namespace) -> None:
    """Print the hardware and packages of this machine, and the model that auto would choose."""
    with quick_imports():
        from longva_demo.cli.doctor import examine, report

    findings = examine(make_settings(options))
    if options.json:
        print_json(**findings)
    else:
        print(report(findings))


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without Python's garbage collector, which takes a quarter of the time of importing torch and gradio.

    It would scan the imported objects again and again, although they live as long as the program. Later
    collections skip them too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def make_settings(options: Namespace) -> Settings:
    return Settings.from_environment(**{name: getattr(options, name, None) for name in SETTINGS})


def require_packages(*packages: str) -> None:
    """Raise DemoError if an optional package of a command is not installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise DemoError(f"this command needs {' and '.join(missing)}", f"run pip install {' '.join(missing)}")


def plan_video(path: Path, settings: Settings, options: Namespace) -> tuple[VideoInfo, FramePlan]:
    info = probe(path, limits=DecodeLimits.from_settings(settings))
    return info, plan_frames(info, settings.num_frames, options.start, options.end)


def write_sheet(target: Path, path: Path, info: VideoInfo, plan: FramePlan, settings: Settings) -> list[str]:
    """Write the contact sheet. Returns the decoder's notes."""
    notes: list[str] = []

    def batches() -> Iterator[Any]:
        limits = DecodeLimits.from_settings(settings)
        done = 0
        for batch in decode_frames(path, plan, info=info, decoder=settings.decoder, limits=limits):
            notes.extend(batch.notes)
            done += len(batch.indices)
            say_progress("sampling frame", done, plan.num_frames)
            yield batch

    contact_sheet(batches(), target)
    say(f"wrote {target}")
    return notes
