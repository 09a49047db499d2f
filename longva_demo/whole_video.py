"""Questions about every part of a video in Python: `longva.find` and `longva.chapters`."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

from longva_demo.chat import Capability, VideoSource
from longva_demo.chat.open_engine import in_process
from longva_demo.conversation import load_engine
from longva_demo.frames import probe_and_plan
from longva_demo.moments import NUM_FRAMES, PRECISION_SECONDS, Moments, Search, default_frames, find_moments
from longva_demo.moments.chapters import NUM_FRAMES as CHAPTER_FRAMES
from longva_demo.moments.chapters import Chapter, Outline, find_chapters
from longva_demo.settings import Settings
from longva_demo.timed_text import Line
from longva_demo.video import plan_frames

DEFAULTS = Settings()


def find(
    path: str | Path,
    query: str,
    frames: int | None = None,
    model: str = DEFAULTS.model,
    quant: str = DEFAULTS.quant,
    start: float | str = 0.0,
    end: float | str | None = None,
    device: str = DEFAULTS.device,
    precision: float = PRECISION_SECONDS,
    window: int = 1,
    on_update: Callable[[Moments], bool | None] = lambda _: None,
) -> Moments:
    """When a video shows something: the model is asked about each sampled frame on its own.

    Args:
        path: a video file.
        query: what to look for ("a red star"), or a question with the answer yes or no.
        frames: how many frames to sample at most; by default 256, or on a slow processor what takes about a minute. As
            many again are used around the edges of what is found.
        model, quant, device: as for `open`.
        start, end: the range to search, in seconds or as "h:mm:ss".
        precision: how well the ends of a range should be known, in seconds.
        window: how many consecutive samples to show at a time, for what moves.
        on_update: called with what is found so far; the search stops once it returns True.

    Raises:
        DemoError: the file cannot be used, the range is outside it, or the query is empty.
    """
    search = Search(query, precision, window)
    # Loading the model takes long, so errors in the file come first.
    info, plan = probe_and_plan(Path(path), NUM_FRAMES if frames is None else frames, start, end)
    engine = in_process(load_engine(model, quant, device, DEFAULTS.engine), Capability.WINDOWS)
    if frames is None:
        plan = plan_frames(info, default_frames(engine), plan.start_seconds, plan.end_seconds)
    stop, found = Event(), Moments()
    with closing(VideoSource(info, plan, engine.processor)) as source:
        for found in find_moments(engine, source, search, stop.is_set):
            if on_update(found) is True:
                stop.set()
    return found


def chapters(
    path: str | Path,
    frames: int = CHAPTER_FRAMES,
    model: str = DEFAULTS.model,
    quant: str = DEFAULTS.quant,
    start: float | str = 0.0,
    end: float | str | None = None,
    device: str = DEFAULTS.device,
    lines: Sequence[Line] = (),
    on_update: Callable[[Outline], bool | None] = lambda _: None,
) -> list[Chapter]:
    """The scenes of a video, each with `start` and `end` in seconds and a `title`, one line that the model wrote.

    Args:
        path: a video file.
        frames: how many frames to sample; scenes shorter than the time between two may be missed.
        model, quant, device: as for `open`.
        start, end: the range, in seconds or as "h:mm:ss".
        lines: what is said and written, as from `words`: the model is given the lines of the scene that it describes.
            The built-in one cannot read them; its titles quote them.
        on_update: called with the chapters so far; the rest is left out once it returns True.

    Raises:
        DemoError: the file cannot be used, or the range is outside it.
    """
    info, plan = probe_and_plan(Path(path), frames, start, end)
    engine = in_process(load_engine(model, quant, device, DEFAULTS.engine), Capability.WINDOWS)
    stop, outline = Event(), Outline()
    with closing(VideoSource(info, plan, engine.processor)) as source:
        for outline in find_chapters(engine, source, stop.is_set, lines):
            if on_update(outline) is True:
                stop.set()
    return list(outline.chapters)
