"""The test itself: for each number of frames and each depth, each needle is inserted, asked about and removed again.

The frames before a needle are the same for all needles at that position, and a prefix of those before later positions.
So one KV cache, in the same prefix cache as those of the chats, serves them all. It is truncated after each question.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from longva_demo.chat import LocalEngine, Progress, Sampling, Stage
from longva_demo.chat.attribution import MAX_ROWS, FrameLayout
from longva_demo.chat.engine import Stop
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.lease import PrefixLease
from longva_demo.chat.occlusion import Occlusion
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES, PREFILL_CHUNK_TOKENS
from longva_demo.chat.prefix_cache import Key
from longva_demo.errors import DemoError
from longva_demo.niah.haystack import Haystack, encode
from longva_demo.niah.needles import Needle

ANSWER = Sampling(max_new_tokens=32)
# Features (frames, tokens_per_frame, dim) that can be sliced.
Frames = Haystack | torch.Tensor
ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Grid:
    """Haystack sizes and depths (0: the needle is first, 1: last)."""

    frames: tuple[int, ...]
    depths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1 or list(self.frames) != sorted(set(self.frames)):
            raise DemoError(
                f"{self.frames} are not valid haystack sizes", "use ascending numbers above 0, such as 200:3000:200"
            )
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            raise DemoError(f"{self.depths} are not valid depths", "use numbers from 0 to 1, such as 0:1:0.2")

    @classmethod
    def parse(cls, frames: str = "200:3000:200", depths: str = "0:1:0.2") -> "Grid":
        """Parse "first:last:step" or "one,two,…". The defaults are the published grid.

        >>> Grid.parse("16,64", "0:1:0.5")
        Grid(frames=(16, 64), depths=(0.0, 0.5, 1.0))
        """
        return cls(tuple(int(number) for number in parse_numbers(frames)), tuple(parse_numbers(depths)))

    def cells(self, num_needles: int) -> "list[Cell]":
        """All cells in the order of the run: the deepest position first, as its prefix serves the others."""
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
        raise DemoError(f"{text!r} is not a valid list of numbers", "use 200:3000:200 or 16,64,256") from None


@dataclass(frozen=True)
class Cell:
    """One question: the size of the haystack in frames, the depth of the needle, and the number of the needle."""

    frames: int
    depth: float
    needle: int

    @property
    def position(self) -> int:
        """The number of frames before the needle.

        >>> Cell(frames=200, depth=0.6, needle=0).position
        120
        """
        return int(round(self.depth * self.frames, 6))

    @property
    def work(self) -> int:
        """The approximate cost in frames: those from the needle on are prefilled for this cell alone."""
        return self.frames - self.position + 20


@dataclass(frozen=True)
class Result:
    """The result of a cell.

    forced: under teacher forcing, each token of the answer has the highest probability (the published score).
    generated: the generated answer is correct, ignoring capitals, punctuation and articles.
    attributed: attribution ranks the needle's frame first for the generated answer; None without attribution.
    """

    cell: Cell
    answer: str
    forced: bool
    generated: bool
    attributed: bool | None
    seconds: float


class Pace:
    """The time per unit of work of finished cells, to estimate that of the others."""

    def __init__(self) -> None:
        self._work, self._seconds = 0, 0.0

    def add(self, result: Result) -> None:
        self._work += result.cell.work
        self._seconds += result.seconds

    def seconds(self, cells: Sequence[Cell]) -> float | None:
        """An estimate for `cells`; None before the first result."""
        return self._seconds / self._work * sum(cell.work for cell in cells) if self._work else None


def run(
    engine: LocalEngine,
    haystack: Frames,
    needles: Sequence[Needle],
    cells: Sequence[Cell],
    with_attribution: bool = True,
    stop: Stop = lambda: False,
) -> Generator[Progress | Result]:
    """Run the cells in the given order. It ends when closed, and within one model step after `stop()`.

    Raises:
        BudgetError: the largest haystack does not fit into the context or the memory.
    """
    if not cells:
        return
    max_frames = max(cell.frames for cell in cells) + 1  # with the needle
    engine.meter(max_frames, engine.prefix_cache.idle_bytes).check()
    features = [encode(engine, np.asarray(needle.picture)[None]) for needle in needles]
    with closing(HaystackCache(engine, haystack, max_frames)) as cache:
        for cell in cells:
            started = perf_counter()
            with cache.lease():
                for done, total in cache.prefill(cell.frames, cell.position, features[cell.needle]):
                    yield Progress(Stage.PREFILL, done, total)
                result = ask(engine, cache, needles[cell.needle], cell, started, with_attribution, stop)
            if result is None:
                return
            yield result


class HaystackCache:
    """The KV cache of header, frames and needle. It may be evicted between cells, and is then prefilled again."""

    def __init__(self, engine: LocalEngine, haystack: Frames, max_frames: int) -> None:
        self.tokens_per_frame = engine.model.tokens_per_frame
        self.start = len(engine.template.header)
        self._engine = engine
        self._haystack = haystack
        self._max_frames = max_frames
        self._key: Key = ("needle test", object())
        self._lease = PrefixLease(engine)
        self._reusable = 0  # leading frames in the cache, before any needle

    @property
    def kv_cache(self) -> GrowingCache:
        """Use it inside `lease()`."""
        return self._lease.held.cache

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep the cache in memory for one cell."""
        prefix = self._lease.find(self._key)
        if prefix is not None:
            self._lease.acquire(prefix, self._max_frames, wait=True)
        else:  # the first cell, or evicted
            cache = self._lease.new_cache(self._max_frames)
            self._engine.prefill_text(self._engine.template.header, cache)
            self._reusable = 0
            self._lease.hold(self._key, cache)
        try:
            yield
        finally:
            self._lease.release()

    def close(self) -> None:
        """Free the cache."""
        self._lease.close()

    def prefill(self, num_frames: int, position: int, needle: torch.Tensor) -> Iterator[tuple[int, int]]:
        """Prefill `num_frames` frames of the haystack, with the needle after the first `position` of them."""
        self._reusable = min(self._reusable, position)
        self.kv_cache.truncate(self.start + self._reusable * self.tokens_per_frame)
        total = num_frames - self._reusable
        step = max(PREFILL_CHUNK_FRAMES, PREFILL_CHUNK_TOKENS // self.tokens_per_frame)
        parts = [*chunks(self._reusable, position, step), None, *chunks(position, num_frames, step)]
        self._reusable = position
        done = 0
        for part in parts:
            self._engine.prefill_frames([needle if part is None else self._haystack[part]], self.kv_cache)
            done += 0 if part is None else part.stop - part.start
            yield done, total


def chunks(first: int, last: int, step: int) -> list[slice]:
    return [slice(at, min(last, at + step)) for at in range(first, last, step)]


def ask(
    engine: LocalEngine,
    prefix: HaystackCache,
    needle: Needle,
    cell: Cell,
    started: float,
    with_attribution: bool,
    stop: Stop,
) -> Result | None:
    """Both scores of a cell. The cache is restored afterwards. Returns None if `stop()` became true."""
    cache = prefix.kv_cache
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
        recorder.truncate(len(kept))
        layout = FrameLayout(prefix.start, prefix.tokens_per_frame, cell.frames + 1)
        candidates = engine.attribute_frames(recorder, cache, layout).candidates
        occlusion = Occlusion(cache, begin, layout.windows(candidates))
        log_prob_drops = engine.log_prob_drops(occlusion, candidates, question, kept[:MAX_ROWS], stop)
        if log_prob_drops is None:
            return None
        attributed = log_prob_drops[0][0] == cell.position

    cache.truncate(end)
    forced, logits = True, after_question
    for token in engine.processor.encode_text(needle.answer):
        forced = forced and int(logits.argmax()) == token
        if not forced:
            break
        logits = engine.prefill_text([token], cache)
    cache.truncate(begin)
    return Result(cell, answer, forced, matches(answer, needle.answer), attributed, perf_counter() - started)


def matches(answer: str, truth: str) -> bool:
    """Whether an answer starts with the truth, ignoring capitals, punctuation and articles.

    >>> matches("The yellow one.", "yellow"), matches("A. Times Square", "A"), matches("Not yellow", "Yellow")
    (True, True, False)
    """
    given, wanted = ("".join(c if c.isalnum() else " " for c in text.casefold()).split() for text in (answer, truth))
    if not ARTICLES.issuperset(wanted):  # the answer may be the option "A"
        given, wanted = ([word for word in words if word not in ARTICLES] for words in (given, wanted))
    return given[: len(wanted)] == wanted
