"""The test itself: for each number of frames and each depth, each needle is inserted, asked about and removed again."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from longva_demo.chat import LocalEngine, Progress, Sampling, Stage
from longva_demo.chat.attribution import MAX_ROWS, FrameLayout
from longva_demo.chat.budget import frames_in_memory
from longva_demo.chat.engine import Stop
from longva_demo.chat.lines import MAX_TOKENS, ChatLines, quote_all
from longva_demo.chat.occlusion import Occlusion
from longva_demo.niah.cache import Frames, HaystackCache
from longva_demo.niah.grid import Cell
from longva_demo.niah.haystack import encode
from longva_demo.niah.hiding import Hide, Trial, at_depth
from longva_demo.niah.needle import Asked, Footage, Needle

ANSWER = Sampling(max_new_tokens=32)
ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Result:
    """The result of a cell. If it has several questions, all of them have to be answered correctly.

    forced: under teacher forcing, each token of the answer has the highest probability (the published score).
    generated: the generated answer is correct, ignoring capitals, punctuation and articles.
    attributed: attribution ranks a frame of the needle first for the generated answer; None without attribution, and
        where nothing is hidden.
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
    hide: Hide = at_depth,
) -> Generator[Progress | Result]:
    """Run the cells in the given order. It ends when closed, and within one model step after `stop()`.

    Haystacks may be longer than the context: how far a model finds needles beyond it is part of the published test.

    Raises:
        BudgetError: the largest haystack does not fit into memory.
    """
    if not cells:
        return
    trials = [hide(cell, needles[cell.needle]) for cell in cells]
    max_frames = max(cell.frames + trial.num_frames for cell, trial in zip(cells, trials, strict=True))
    check_memory(engine, max_frames)
    features = encode_all(engine, trials)
    with closing(HaystackCache(engine, haystack, max_frames)) as cache:
        for cell, trial in zip(cells, trials, strict=True):
            started = perf_counter()
            with cache.lease():
                hidden = [(one.position, features[one.footage]) for one in trial.hidden]
                for done, total in cache.prefill(cell.frames, hidden):
                    yield Progress(Stage.PREFILL, done, total)
                answers = ask_all(engine, cache, cell, trial, with_attribution, stop)
            if answers is None:
                return
            yield result_of(cell, answers, perf_counter() - started)


def check_memory(engine: LocalEngine, num_frames: int) -> None:
    """Raise BudgetError if the KV cache of so many frames does not fit into memory."""
    fitting = frames_in_memory(engine.loaded, engine.prefix_cache.idle_bytes)
    if fitting is not None:
        replace(engine.meter(num_frames), largest_budget=fitting).check()


def encode_all(engine: LocalEngine, trials: Sequence[Trial]) -> dict[Footage, torch.Tensor]:
    """Features (frames, tokens_per_frame, dim) of all that is hidden."""
    footage = dict.fromkeys(one.footage for trial in trials for one in trial.hidden)
    return {one: encode(engine, one.pixels) for one in footage}


@dataclass(frozen=True)
class Answer:
    """The answer to one question; see `Result`."""

    text: str
    forced: bool
    generated: bool
    attributed: bool | None


def result_of(cell: Cell, answers: Sequence[Answer], seconds: float) -> Result:
    known = [answer.attributed for answer in answers if answer.attributed is not None]
    return Result(
        cell,
        " | ".join(answer.text for answer in answers),
        all(answer.forced for answer in answers),
        all(answer.generated for answer in answers),
        all(known) if known else None,
        seconds,
    )


def ask_all(
    engine: LocalEngine, prefix: HaystackCache, cell: Cell, trial: Trial, with_attribution: bool, stop: Stop
) -> list[Answer] | None:
    """The answers of a cell. No question sees another one. Returns None if `stop()` became true."""
    answers = []
    layout = FrameLayout(prefix.start, prefix.tokens_per_frame, cell.frames + trial.num_frames)
    for asked in trial.asked:
        shown = trial.frames_of(asked.parts) if with_attribution else set()
        answer = ask(engine, prefix, with_lines(engine, trial, asked), layout, shown, stop)
        if answer is None:
            return None
        answers.append(answer)
    return answers


def with_lines(engine: LocalEngine, trial: Trial, asked: Asked) -> Asked:
    """The question after the lines that fit it, as a chat asks it."""
    if not trial.lines:
        return asked
    encode = engine.processor.encode_text
    given = ChatLines(trial.lines).fitting(asked.question, MAX_TOKENS, lambda text: len(encode(text)))
    return replace(asked, question=f"{quote_all(given)}\n{asked.question}")


def ask(
    engine: LocalEngine, prefix: HaystackCache, asked: Asked, layout: FrameLayout, shown: set[int], stop: Stop
) -> Answer | None:
    """Both scores of one question. The cache is restored afterwards. Returns None if `stop()` became true.

    shown: the frames that show the answer; without any, the answer is not attributed.
    """
    cache = prefix.kv_cache
    begin = cache.get_seq_length()
    question = engine.template.question(asked.question, first=True, has_frames=True)
    recorder = engine.recorder() if shown else None
    after_question = engine.prefill_text(question, cache, recorder)
    end = cache.get_seq_length()

    ids = []
    for token, _ in engine.generate(after_question, cache, ANSWER, recorder):
        ids.append(token)
        if stop():
            return None
    kept = ids[:-1] if ids[-1] in engine.stop_ids else ids
    text = engine.processor.decode(kept, skip_special_tokens=True).strip()
    attributed = None
    if recorder is not None and kept:
        recorder.truncate(len(kept))
        candidates = engine.attribute_frames(recorder, cache, layout).candidates
        occlusion = Occlusion(cache, begin, layout.windows(candidates))
        log_prob_drops = engine.log_prob_drops(occlusion, candidates, question, kept[:MAX_ROWS], stop)
        if log_prob_drops is None:
            return None
        attributed = log_prob_drops[0][0] in shown

    cache.truncate(end)
    forced, logits = True, after_question
    for token in engine.processor.encode_text(asked.answer):
        forced = forced and int(logits.argmax()) == token
        if not forced:
            break
        logits = engine.prefill_text([token], cache)
    cache.truncate(begin)
    return Answer(text, forced, matches(text, asked.answer), attributed)


def matches(answer: str, truth: str) -> bool:
    """Whether an answer starts with the truth, ignoring capitals, punctuation and articles.

    >>> matches("The yellow one.", "yellow"), matches("A. Times Square", "A"), matches("Not yellow", "Yellow")
    (True, True, False)
    """
    given, wanted = ("".join(c if c.isalnum() else " " for c in text.casefold()).split() for text in (answer, truth))
    if not ARTICLES.issuperset(wanted):  # the answer may be the option "A"
        given, wanted = ([word for word in words if word not in ARTICLES] for words in (given, wanted))
    return given[: len(wanted)] == wanted
