"""A video as a whole: its scenes, each described on its own.

One prompt about a long video answers about its beginning, or invents. Here the model sees one scene at a time, a few
frames of it, and can only describe what is there.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from longva_demo.chat import LocalEngine, Progress, Sampling, Stage, VideoSource
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES
from longva_demo.chat.text_stream import TextStream
from longva_demo.errors import VideoError, one_line
from longva_demo.moments.curve import Times
from longva_demo.moments.find import searched_times
from longva_demo.moments.question import TINY
from longva_demo.moments.scene_lines import before_question, beside_title, lines_in, shorten
from longva_demo.moments.scenes import Cut, Sketch, find_cuts, make_sketch, sharpen
from longva_demo.timed_text import Line

NUM_FRAMES = 512
PRECISION_SECONDS = 0.25
MAX_CHAPTERS = 100
# Frames of a scene that the model is given. The built-in one learned to describe single pictures.
SCENE_FRAMES, TINY_SCENE_FRAMES = 8, 1
TITLE = Sampling(max_new_tokens=64)
MAX_TITLE_CHARACTERS = 200
QUESTION = "Describe what happens here in one short sentence."
TINY_QUESTION = "What do you see?"
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Chapter:
    """A scene, from `start` to `end` in seconds, and one line about it."""

    start: float
    end: float
    title: str


@dataclass(frozen=True)
class Outline:
    """The chapters so far. `progress` is None once all of them are described."""

    chapters: tuple[Chapter, ...] = ()
    progress: Progress | None = None
    notes: tuple[str, ...] = ()

    def to_list(self) -> list[dict[str, object]]:
        """For JSON."""
        return [{"start": one.start, "end": one.end, "title": one.title} for one in self.chapters]


class Outliner(Protocol):
    """`find_chapters` with an engine. `session` is the name of the page's session, for the log."""

    def __call__(
        self, source: VideoSource, should_stop: Stop, session: str | None, lines: Sequence[Line]
    ) -> Generator[Outline]: ...


def find_chapters(
    engine: LocalEngine, source: VideoSource, should_stop: Stop, lines: Sequence[Line] = ()
) -> Generator[Outline]:
    """Find the scenes among the source's frames, and let the model describe each.

    lines: what is said and written in the video. The model is given those of the scene that it describes; the built-in
        one, which cannot read them, is not, and its titles quote them.

    Yields the progress, then the chapters as they are described. Ends early within one step of the model once
    `should_stop()` turns true; the last `Outline` then has its progress.

    Raises:
        VideoError: no frame can be decoded.
    """
    sketches: list[Sketch] = []
    for progress in read_sketches(source, sketches, should_stop):
        yield Outline((), progress)
    if should_stop():
        return
    if not sketches:
        raise VideoError(f"no frame of {source.path.name} could be decoded", "try another video")
    cuts, notes = strongest(find_cuts(sketches))
    cuts = sharpen(source, cuts, PRECISION_SECONDS, should_stop)
    times = searched_times(source.info, source.plan)
    bounds = [times.start_seconds, *(change(times, cut) for cut in cuts), times.end_seconds]
    chapters: list[Chapter] = []
    total = len(bounds) - 1
    scene_frames = TINY_SCENE_FRAMES if engine.model.id == TINY else SCENE_FRAMES
    for number, (start, end) in enumerate(pairwise(bounds)):
        positions = positions_in(sketches, start, end, scene_frames)
        title = describe(engine, source, positions, should_stop, lines_in(lines, start, end))
        if should_stop():
            yield Outline(tuple(chapters), Progress(Stage.WINDOWS, number, total), notes)
            return
        chapters.append(Chapter(start, end, title))
        is_last = number == total - 1
        yield Outline(tuple(chapters), None if is_last else Progress(Stage.WINDOWS, number + 1, total), notes)


def read_sketches(source: VideoSource, sketches: list[Sketch], should_stop: Stop) -> Iterator[Progress]:
    """Fill `sketches` with the source's frames as they are decoded."""
    with closing(source.pixels(PREFILL_CHUNK_FRAMES, should_stop)) as chunks:  # type: ignore[type-var]
        for pixels in chunks:
            if pixels is not None:
                refs = source.frame_refs[len(sketches) : len(sketches) + len(pixels)]
                sketches += [make_sketch(ref.index, ref.seconds, one) for ref, one in zip(refs, pixels, strict=True)]
            yield Progress(Stage.SAMPLING, len(sketches), source.num_frames)


def strongest(cuts: list[Cut]) -> tuple[list[Cut], tuple[str, ...]]:
    """At most MAX_CHAPTERS - 1 of the cuts, the clearest ones, in order, and a note if some are left out."""
    most = MAX_CHAPTERS - 1
    if len(cuts) <= most:
        return cuts, ()
    ranked = sorted(range(len(cuts)), key=lambda at: -cuts[at].before.difference(cuts[at].after))
    note = f"The video has {len(cuts):,} changes of scene; the {most} clearest ones begin a chapter."
    return [cuts[at] for at in sorted(ranked[:most])], (note,)


def change(times: Times, cut: Cut) -> float:
    return times.change(cut.before.index, cut.after.index)


def positions_in(sketches: Sequence[Sketch], start: float, end: float, count: int) -> list[int]:
    """Positions of up to `count` samples of a scene, evenly spread; of one, the nearest to its middle."""
    inside = [at for at, sketch in enumerate(sketches) if start <= sketch.seconds < end]
    if not inside or count == 1:
        return [min(range(len(sketches)), key=lambda at: abs(sketches[at].seconds - (start + end) / 2))]
    chosen = np.linspace(0, len(inside) - 1, min(count, len(inside))).round().astype(int)
    return [inside[at] for at in chosen]


def describe(
    engine: LocalEngine, source: VideoSource, positions: Sequence[int], should_stop: Stop, lines: Sequence[Line] = ()
) -> str:
    """One line about the frames at these positions of the source, which the model is given alone."""
    pixels = np.stack([source.stored_frame(position) for position in positions])
    reads_lines = engine.model.id != TINY
    encode = engine.processor.encode_text
    question = before_question(lines, lambda text: len(encode(text))) + QUESTION if reads_lines else TINY_QUESTION
    ids = engine.template.question(question, first=True, has_frames=True)
    answer = answer_about(engine, engine.encode_frames(pixels), ids, should_stop)
    title = shorten(one_line(answer), MAX_TITLE_CHARACTERS)
    return title if reads_lines else title + beside_title(lines)


def answer_about(engine: LocalEngine, features: torch.Tensor, ids: list[int], should_stop: Stop) -> str:
    """The answer to a question about some frames, features (frames, tokens_per_frame, dim), in a cache of its own."""
    cache = engine.new_cache(len(engine.template.header) + features.shape[0] * features.shape[1] + len(ids) + 64)
    engine.prefill_text(engine.template.header, cache)
    engine.prefill_frames([features], cache)
    logits = engine.prefill_text(ids, cache)
    text, pieces = TextStream(engine.processor), []
    for token, _ in engine.generate(logits, cache, TITLE):
        pieces.append(text.add(token))
        if should_stop():
            break
    return "".join(pieces)
