"""A chat about one video: one prefill, many questions; undoing a turn truncates the KV cache."""

import secrets
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch

from longva_demo.chat.attribution import Attribution, FrameLayout, QueryRecorder
from longva_demo.chat.budget import BudgetMeter
from longva_demo.chat.engine import Engine
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.occlusion import Occlusion
from longva_demo.chat.prefill import SourcePrefix
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.source import Source
from longva_demo.chat.turn import AnswerStats, CacheStatus, FrameRef, Progress, Stage, TextDelta, Turn
from longva_demo.errors import BudgetError, ContextError, DemoError, replace_surrogates

# A question is refused if the context has less left for the answer.
MIN_ANSWER_TOKENS = 16


class ChatSession:
    """One person's conversation. One question runs at a time; `stop` may be called from any thread.

    The KV cache always holds some of `header, frames, turns`, from the start: the prefix that `SourcePrefix` acquired,
    then some of the turns' ids. The next question prefills what is missing. This covers a dropped cache, one that
    another chat used, a resumed turn, and the last token of an answer, which `generate` leaves out of the cache.
    """

    def __init__(self, engine: Engine, is_shared: bool = True) -> None:
        """`is_shared`: share the prefix with other chats about the same frames."""
        self.engine = engine
        self.name = secrets.token_hex(4)  # for the log
        self.turns: list[Turn] = []
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self.prefix = SourcePrefix(engine, self._stop, is_shared)  # of the source, in the KV cache

    @property
    def source(self) -> Source | None:
        return self.prefix.source

    def set_source(self, source: Source | None) -> None:
        """Ask about `source` from now on; None is text alone. Another source clears the turns.

        The old prefix stays cached while memory allows, so switching back is fast.

        Raises:
            BudgetError: its frames do not fit into the context or the memory; the session does not change.
        """
        with self._exclusive():
            if source is self.source:
                return
            if source is not None:
                self.meter(source.num_frames).check()
            if source is None or self.source is None or source.key != self.source.key:
                self.turns = []
                self.prefix.truncate(0)
            self.prefix.source = source

    @property
    def needs_prefill(self) -> bool:
        """Whether the next question needs the prefill of a video."""
        return self._has_video and not self.prefix.is_cached

    def meter(self, num_frames: int) -> BudgetMeter:
        """The cost of `num_frames` frames, counting memory that eviction would free as free."""
        return self.engine.meter(num_frames, self.prefix.lease.evictable_bytes)

    @property
    def frames(self) -> list[FrameRef]:
        """The frames decoded so far, without those that could not be decoded."""
        return self.source.frame_refs if self.source is not None else []

    @property
    def notes(self) -> list[str]:
        """What was lost or guessed when the file was read, one sentence each."""
        return list(self.source.notes) if self.source is not None else []

    def ask(self, question: str, sampling: Sampling | None = None) -> Iterator[Progress | TextDelta]:
        """Prefill the source if it is not cached, then stream the answer; the finished turn is `turns[-1]`.

        Stopping, or closing the generator, keeps the answer so far. An error changes nothing.

        Raises:
            DemoError: empty question, full context, unreadable video, out of memory, or a question is being answered
                already.
        """
        with self._exclusive():
            self._stop.clear()
            yield from self._ask(question, sampling or Sampling())

    def undo(self) -> Turn | None:
        """Remove the last turn and return it; None if there is none."""
        with self._exclusive():
            return self._undo()

    def retry(self, sampling: Sampling | None = None) -> Iterator[Progress | TextDelta]:
        """Ask the last question again; if that fails, the old answer stays."""
        return self.edit(None, sampling)

    def edit(self, question: str | None, sampling: Sampling | None = None) -> Iterator[Progress | TextDelta]:
        """Replace the last question with `question` (None: the same one); if that fails, the old turn stays."""
        with self._exclusive():
            self._stop.clear()
            old = self._undo()
            if old is None:
                raise DemoError("there is no question yet", "ask one first")
            num_turns = len(self.turns)
            try:
                yield from self._ask(old.question if question is None else question, sampling or Sampling())
            finally:
                if len(self.turns) == num_turns:
                    self.turns.append(old)

    def attribute_last_answer(self) -> Turn | None:
        """Measure how far the last answer's probability drops without the frames that it attended to most.

        Returns the last turn, with `log_prob_drops` in its attribution. Returns None if there is nothing to try, if the
        turn `is_too_long_to_attribute`, after `stop`, or if memory is short. The conversation does not change.
        """
        with self._exclusive():
            self._stop.clear()
            turn = self.turns[-1] if self.turns else None
            if turn is None or turn.attribution is None or turn.is_too_long_to_attribute or len(turn.answer_ids) < 2:
                return None
            if not self.prefix.try_acquire():
                return None
            try:
                log_prob_drops = self._log_prob_drops(turn, turn.attribution)
            finally:
                self.prefix.release()
            if log_prob_drops is None:
                return None
            self.turns[-1] = replace(turn, attribution=replace(turn.attribution, log_prob_drops=log_prob_drops))
            return self.turns[-1]

    def clear(self) -> None:
        """Clear the conversation, but not the video's prefix."""
        with self._exclusive():
            self.turns = []
            self.prefix.truncate(0)

    def stop(self) -> None:
        """Stop whatever runs within one step: a token, or a chunk of frames, of text or of an occlusion."""
        self._stop.set()

    def resume(self, source: Source | None, turns: list[Turn]) -> None:
        """Continue a conversation held in another process; the next question rebuilds its KV cache."""
        with self._exclusive():
            for one in (self.source, source):
                self.prefix.source = one
                self.prefix.truncate(0)
            self.turns = list(turns)

    def close(self) -> None:
        """Stop, and free the cache and the stored frames."""
        self.stop()
        with self._busy:
            self.prefix.close()

    def _ask(self, question: str, sampling: Sampling) -> Iterator[Progress | TextDelta]:
        started = time.perf_counter()
        question = replace_surrogates(question)
        has_frames = self.source is not None
        question_ids = self.engine.template.question(question, first=not self.turns, has_frames=has_frames)
        try:
            status = yield from self.prefix.acquire()
            if self._stop.is_set():
                return
            stats = AnswerStats(
                cache=status,
                was_evicted=status == CacheStatus.MISS and bool(self.turns),
                seconds_to_prefill=0.0 if status == CacheStatus.HIT else time.perf_counter() - started,
                seconds_to_decode=0.0 if status == CacheStatus.HIT else self.prefix.seconds_decoding,
            )
            yield from self._answer(question, question_ids, sampling, stats, started)
        finally:
            self.prefix.release()

    def _answer(
        self, question: str, question_ids: list[int], sampling: Sampling, stats: AnswerStats, started: float
    ) -> Iterator[Progress | TextDelta]:
        """Stream the answer, with the lease acquired."""
        cache = self.prefix.cache
        sampling = self._within_context(sampling, len(question_ids))
        num_fed = cache.get_seq_length() - self.prefix.num_tokens
        pending = [*self._turn_ids()[num_fed:], *question_ids]
        answer_ids: list[int] = []
        pieces: list[str] = []
        log_probabilities: list[float] = []
        text = self.engine.text_stream()
        recorder = self.engine.recorder() if self._has_video else None
        try:
            with self.prefix.drop_on_error():
                logits = yield from self._prefill(pending, cache, recorder)
                if logits is None:
                    return
                stats = replace(stats, num_tokens=cache.get_seq_length())
                for token, log_probability in self.engine.generate(logits, cache, sampling, recorder):
                    if not answer_ids:
                        stats = replace(stats, seconds_to_first_token=time.perf_counter() - started)
                    answer_ids.append(token)
                    log_probabilities.append(log_probability)
                    pieces.append(text.add(token))
                    if pieces[-1]:
                        yield TextDelta(pieces[-1])
                    if self._stop.is_set():
                        break
        except Exception:
            answer_ids.clear()
            raise
        finally:
            if answer_ids:
                stats = replace(
                    stats,
                    num_new_tokens=len(answer_ids),
                    seconds=time.perf_counter() - started,
                    log_probability=sum(log_probabilities) / len(log_probabilities),
                )
                self._add_turn(question, "".join(pieces), stats, question_ids, answer_ids, sampling, recorder)

    def _prefill(
        self, ids: list[int], cache: GrowingCache, recorder: QueryRecorder | None
    ) -> Generator[Progress, None, torch.Tensor | None]:
        """Prefill missing turns and the question; returns the logits after them, or None if the chat was stopped."""
        steps = self.engine.prefill_text_steps(ids, cache, recorder)
        is_complete = False
        try:
            while not self._stop.is_set():
                try:
                    yield Progress(Stage.QUESTION, next(steps), len(ids))
                except StopIteration as ended:
                    is_complete = True
                    return cast(torch.Tensor, ended.value)
            return None
        finally:
            if not is_complete:  # drop the part of the question that is in the cache
                length = self.prefix.num_tokens + len(self._turn_ids())
                cache.truncate(min(cache.get_seq_length(), length))

    def _add_turn(
        self,
        question: str,
        answer: str,
        stats: AnswerStats,
        question_ids: list[int],
        answer_ids: list[int],
        sampling: Sampling,
        recorder: QueryRecorder | None,
    ) -> None:
        ended = answer_ids[-1] in self.engine.stop_ids
        stopped = not ended and len(answer_ids) < sampling.max_new_tokens
        kept = answer_ids[:-1] if ended else answer_ids
        ids = (*kept, self.engine.template.end_of_turn)
        attribution = self._attribute(recorder, len(kept)) if recorder and kept else None
        stats = replace(stats, stopped=stopped)
        self.turns.append(Turn(question, answer, stats, sampling, tuple(question_ids), ids, attribution))

    def _attribute(self, recorder: QueryRecorder, num_tokens: int) -> Attribution | None:
        """The attention of a finished answer; None, and an answer without attribution, if memory is short.

        Leaves out the row that predicts the end of the turn: it attends to nothing in particular.
        """
        recorder.truncate(num_tokens)
        try:
            return self.engine.attribute_frames(recorder, self.prefix.cache, self._frame_layout())
        except BudgetError:
            return None

    def _log_prob_drops(self, turn: Turn, attribution: Attribution) -> tuple[tuple[int, float], ...] | None:
        """(frame, drop in nats) of the candidates, largest drop first; None after `stop` or if memory is short."""
        frames, candidates = self._frame_layout(), attribution.candidates
        cache = self.prefix.cache
        earlier = self._turn_ids()[: len(self._turn_ids()) - len(turn.ids)]
        length = self.prefix.num_tokens + len(earlier)
        answer = turn.attributed_ids
        windows = frames.windows(candidates)
        try:
            if cache.get_seq_length() < length:  # another chat used it
                with self.prefix.drop_on_error():
                    missing = earlier[cache.get_seq_length() - self.prefix.num_tokens :]
                    for _ in self.engine.prefill_text_steps(missing, cache):
                        if self._stop.is_set():
                            return None
            occlusion = Occlusion(cache, length, windows)
            return self.engine.log_prob_drops(occlusion, candidates, turn.question_ids, answer, self._stop.is_set)
        except BudgetError:
            return None

    @property
    def _has_video(self) -> bool:
        return self.source is not None and self.source.kind == "video"

    def _frame_layout(self) -> FrameLayout:
        header = len(self.engine.template.header)
        return FrameLayout(header, self.engine.loaded.model.config.tokens_per_frame, len(self.frames))

    def _undo(self) -> Turn | None:
        if not self.turns:
            return None
        turn = self.turns.pop()
        self.prefix.truncate(len(self._turn_ids()))
        return turn

    def _turn_ids(self) -> list[int]:
        return [token for turn in self.turns for token in turn.ids]

    def _within_context(self, sampling: Sampling, num_question_tokens: int) -> Sampling:
        """The sampling with `max_new_tokens` limited to what the context has left.

        Raises:
            ContextError: fewer than `MIN_ANSWER_TOKENS` are left.
        """
        context_length = self.engine.loaded.model.config.context_length
        used = self.prefix.num_tokens + len(self._turn_ids()) + num_question_tokens
        left = context_length - used
        if left < MIN_ANSWER_TOKENS:
            raise ContextError(
                f"the conversation takes {used:,} of the model's {context_length:,} tokens, too many to answer",
                "ask more briefly, clear the chat, or set a smaller budget",
            )
        return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, left))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise DemoError("this chat is still answering", "wait for the answer, or press Stop")
        try:
            yield
        finally:
            self._busy.release()
