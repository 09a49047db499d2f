"""The test itself: for each number of frames and each depth, each needle is put in, asked about and taken out again.

What stands before a needle is the same for all needles at that place, and part of what stands before later places:
one cache holds it, and is cut back to it after each question. It is kept beside those of the chats.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from longva_demo.chat import Engine, Progress, Sampling, Stage
from longva_demo.chat.attribution import MAX_ROWS, FrameLayout
from longva_demo.chat.engine import Stop
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.occlusion import Occlusion
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES, PREFILL_CHUNK_TOKENS
from longva_demo.chat.prefix_cache import CachedPrefix, Key
from longva_demo.errors import DemoError
from longva_demo.niah.haystack import Haystack, encode
from longva_demo.niah.needles import Needle

# Beside the frames: the system text, the question, and an answer.
TEXT_TOKENS = 512
ANSWER = Sampling(max_new_tokens=32)
# Features (frames, tokens_per_frame, dim) to take slices of.
Frames = Haystack | torch.Tensor
ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Grid:
    """Haystack sizes and depths (0: the needle comes first, 1: last)."""

    frames: tuple[int, ...]
    depths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1 or list(self.frames) != sorted(set(self.frames)):
            raise DemoError(
                f"the haystack sizes are {self.frames}", "give ascending numbers above 0, as in 200:3000:200"
            )
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            raise DemoError(f"the depths are {self.depths}", "give numbers from 0 to 1, as in 0:1:0.2")

    @classmethod
    def parse(cls, frames: str = "200:3000:200", depths: str = "0:1:0.2") -> "Grid":
        """From "first:last:step" or "one,two,…" each; without arguments the published grid.

        >>> Grid.parse("16,64", "0:1:0.5")
        Grid(frames=(16, 64), depths=(0.0, 0.5, 1.0))
        """
        return cls(tuple(int(number) for number in parse_numbers(frames)), tuple(parse_numbers(depths)))

    def cells(self, num_needles: int) -> "list[Cell]":
        """In the order of the run: the deepest place first, since the cache before it serves the others."""
        depths = sorted(set(self.depths), reverse=True)
        return [Cell(n, depth, needle) for n in self.frames for depth in depths for needle in range(num_needles)]


def parse_numbers(text: str) -> list[float]:
    parts = text.split(":")
    try:
        if len(parts) != 3:
            numbers = [float(part) for part in text.split(",")]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
            return numbers
        first, last, step = map(float, parts)
        count = int((last - first) / step + 1e-6) + 1
        return [round(first + step * index, 6) for index in range(count)]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise DemoError(f"{text!r} is no list of numbers", "write 200:3000:200 or 16,64,256") from None


@dataclass(frozen=True)
class Cell:
    """One question: how many frames of haystack, how deep the needle lies, and which needle (its number)."""

    frames: int
    depth: float
    needle: int

    @property
    def place(self) -> int:
        """Frames before the needle.

        >>> Cell(frames=200, depth=0.6, needle=0).place
        120
        """
        return int(round(self.depth * self.frames, 6))

    @property
    def work(self) -> int:
        """About how long it takes, in frames: those from the needle on are read for it alone."""
        return self.frames - self.place + 20


@dataclass(frozen=True)
class Result:
    """What came of a cell.

    forced: every token of the answer is the likeliest one after those before it (the published score).
    generated: the generated answer says the same, capitals, punctuation and articles aside.
    attributed: the needle's frame is the one that the generated answer drew on most; None where that was not looked at.
    """

    cell: Cell
    answer: str
    forced: bool
    generated: bool
    attributed: bool | None
    seconds: float


class Pace:
    """How long cells took for their work, to say how long others will take."""

    def __init__(self) -> None:
        self._work, self._seconds = 0, 0.0

    def add(self, result: Result) -> None:
        self._work += result.cell.work
        self._seconds += result.seconds

    def seconds(self, cells: Sequence[Cell]) -> float | None:
        """For `cells`; None before the first result."""
        return self._seconds / self._work * sum(cell.work for cell in cells) if self._work else None


def run(
    engine: Engine,
    haystack: Frames,
    needles: Sequence[Needle],
    cells: Sequence[Cell],
    with_attribution: bool = True,
    stop: Stop = lambda: False,
) -> Generator[Progress | Result]:
    """Ask about each cell, in the order given. It ends when closed, and within one step of the model after `stop()`.

    Raises:
        BudgetError: the largest haystack does not fit the context or the memory.
    """
    if not cells:
        return
    most = max(cell.frames for cell in cells)
    engine.meter(most + 1, engine.prefix_cache.idle_bytes).check()
    features = [encode(engine, np.asarray(needle.picture)[None]) for needle in needles]
    with closing(Stack(engine, haystack, most + 1)) as stack:
        for cell in cells:
            started = perf_counter()
            with stack.held():
                for done, total in stack.put(cell.frames, cell.place, features[cell.needle]):
                    yield Progress(Stage.PREFILL, done, total)
                result = ask(engine, stack, needles[cell.needle], cell, started, with_attribution, stop)
            if result is None:
                return
            yield result


class Stack:
    """The cache with header, frames and needle. Between cells it may have to make room, and is read anew then."""

    def __init__(self, engine: Engine, haystack: Frames, max_frames: int) -> None:
        self.size = engine.loaded.model.config.tokens_per_frame
        self.start = len(engine.template.header)
        self._engine = engine
        self._haystack = haystack
        self._max_frames = max_frames
        self._key: Key = ("needle test", object())
        self._held: CachedPrefix | None = None
        self._clean = 0  # frames at the beginning of the cache that are the haystack's own

    @property
    def cache(self) -> GrowingCache:
        assert self._held is not None, "hold it first"
        return self._held.cache

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the cache for a cell."""
        self._held = prefix = self._take() or self._begin()
        self._engine.prefix_cache.insert(prefix, self, self._engine.meter(0).free_bytes or 0)
        try:
            yield
        finally:
            self._held = None
            prefix.busy.release()

    def close(self) -> None:
        """Free it."""
        self._engine.prefix_cache.forget(self)

    @property
    def _room(self) -> int:
        return self._max_frames * self.size + TEXT_TOKENS

    def _take(self) -> CachedPrefix | None:
        """What the last cell left; None where it had to make room."""
        prefix = self._engine.prefix_cache.lookup(self._key, self)
        if prefix is None:
            return None
        prefix.busy.acquire()
        if prefix.is_offloaded:
            try:
                self._engine.evict_for(self._max_frames)
                self._engine.restore(prefix, self._room)
            except BaseException:
                prefix.busy.release()
                raise
        return prefix

    def _begin(self) -> CachedPrefix:
        """A new cache, with the header alone."""
        self._engine.evict_for(self._max_frames)
        cache = self._engine.new_cache(self._room)
        self._engine.prefill_text(self._engine.template.header, cache)
        self._clean = 0
        prefix = CachedPrefix(self._key, cache, self)
        prefix.busy.acquire()
        return prefix

    def put(self, num_frames: int, place: int, needle: torch.Tensor) -> Iterator[tuple[int, int]]:
        """Make the cache hold `num_frames` frames of the haystack with the needle after the first `place`."""
        self._clean = min(self._clean, place)
        self.cache.cut_to(self.start + self._clean * self.size)
        total = num_frames - self._clean
        step = max(PREFILL_CHUNK_FRAMES, PREFILL_CHUNK_TOKENS // self.size)
        parts = [*chunks(self._clean, place, step), None, *chunks(place, num_frames, step)]
        self._clean = place
        done = 0
        for part in parts:
            self._engine.prefill_frames([needle if part is None else self._haystack[part]], self.cache)
            done += 0 if part is None else part.stop - part.start
            yield done, total


def chunks(first: int, last: int, step: int) -> list[slice]:
    return [slice(at, min(last, at + step)) for at in range(first, last, step)]


def ask(
    engine: Engine, stack: Stack, needle: Needle, cell: Cell, started: float, with_attribution: bool, stop: Stop
) -> Result | None:
    """Both scores; the cache ends as it began. None after `stop()`, which ends the run."""
    cache = stack.cache
    begin = cache.get_seq_length()
    question = engine.template.question(needle.question, first=True, has_frames=True)
    recorder = engine.recorder() if with_attribution else None
    after_question = engine.prefill_text(question, cache, recorder)
    end = cache.get_seq_length()

    ids = []
    for token, _ in engine.generate(after_question, cache, ANSWER, recorder):
        ids.append(token)
        if stop():
            return None
    kept = ids[:-1] if ids[-1] in engine.stop_ids else ids
    answer = engine.processor.decode(kept, skip_special_tokens=True).strip()
    attributed = None
    if recorder is not None and kept:
        recorder.keep(len(kept))
        places = FrameLayout(stack.start, stack.size, cell.frames + 1)
        candidates = engine.attribute_frames(recorder, cache, places).candidates
        hiding = Occlusion(cache, begin, places.windows(candidates))
        log_prob_drops = engine.log_prob_drops(hiding, candidates, question, kept[:MAX_ROWS], stop)
        if log_prob_drops is None:
            return None
        attributed = log_prob_drops[0][0] == cell.place

    cache.cut_to(end)
    forced, logits = True, after_question
    for token in engine.processor.encode_text(needle.answer):
        forced = forced and int(logits.argmax()) == token
        if not forced:
            break
        logits = engine.prefill_text([token], cache)
    cache.cut_to(begin)
    return Result(cell, answer, forced, says(answer, needle.answer), attributed, perf_counter() - started)


def says(answer: str, truth: str) -> bool:
    """Whether an answer is the truth or begins with it, capitals, punctuation and articles aside.

    >>> says("The yellow one.", "yellow"), says("A. Times Square", "A"), says("Not yellow", "Yellow")
    (True, True, False)
    """
    given, wanted = ("".join(c if c.isalnum() else " " for c in text.casefold()).split() for text in (answer, truth))
    if not ARTICLES.issuperset(wanted):  # the letter of an option may look like one
        given, wanted = ([word for word in words if word not in ARTICLES] for words in (given, wanted))
    return given[: len(wanted)] == wanted
