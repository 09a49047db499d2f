"""A chat about one video: one prefill, many questions; undoing a turn truncates the KV cache."""

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from longva_demo.chat.budget import BudgetMeter
from longva_demo.chat.engine import Engine, NewToken
from longva_demo.chat.lines import BUILTIN_MODEL, MAX_TOKENS, WHOLE_VIDEO, ChatLines, LinesCost, Span, quote_all
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.source import Source
from longva_demo.chat.text_stream import TextStream
from longva_demo.chat.turn import AnswerStats, CacheStatus, FrameRef, Progress, TextDelta, Turn
from longva_demo.chat.video_source import VideoSource
from longva_demo.errors import ContextError, DemoError, replace_surrogates
from longva_demo.timed_text import Line

# A question is refused if the context has less left for the answer.
MIN_ANSWER_TOKENS = 16


class ChatSession:
    """One person's conversation. One question runs at a time; `stop` may be called from any thread."""

    def __init__(self, engine: Engine, is_shared: bool = True) -> None:
        """`is_shared`: share the prefix with other chats about the same frames."""
        self.engine = engine
        self.name = secrets.token_hex(4)  # for the log
        self.turns: list[Turn] = []
        self.lines: ChatLines | None = None  # what is said and written: those that fit a question go into its prompt
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self.prefix = engine.open_prefix(self._stop, is_shared)

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
        return self.engine.meter(num_frames, self.prefix.evictable_bytes)

    @property
    def frames(self) -> list[FrameRef]:
        """The frames decoded so far, without those that could not be decoded."""
        return self.source.frame_refs if self.source is not None else []

    @property
    def notes(self) -> list[str]:
        """What was lost or guessed when the file was read, one sentence each."""
        return list(self.source.notes) if self.source is not None else []

    @property
    def reads_lines(self) -> bool:
        """Whether the model can use lines of what is said and written."""
        return self.engine.model.id != BUILTIN_MODEL

    def lines_cost(self, lines: ChatLines | None) -> LinesCost | None:
        """What `lines` would add to the prompt of the next question; None for nothing."""
        if lines is None or not self.reads_lines:
            return None
        num_frames = self.source.num_frames if self.source is not None else 0
        used = num_frames * self.engine.model.tokens_per_frame + len(turn_ids(self.turns))
        return lines.cost(self._max_line_tokens(used), self._count_tokens, self._span)

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
            earlier = turn_ids(self.turns[:-1])
            log_prob_drops = self.prefix.log_prob_drops(earlier, turn.given_ids, turn.attributed_ids, turn.attribution)
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
            yield from self.prefix.acquire()
            if self._stop.is_set():
                return
            lines, prompt_ids = self._with_lines(question, question_ids)
            asked = Turn(question, "", AnswerStats(), sampling, tuple(question_ids), (), None, lines, prompt_ids)
            yield from self._answer(asked, started, time.perf_counter() - started)
        finally:
            self.prefix.release()
            if self.turns and self.turns[-1].lines:  # later questions follow that turn without its lines
                self.prefix.truncate(len(turn_ids(self.turns[:-1])))

    def _with_lines(self, question: str, question_ids: list[int]) -> tuple[tuple[Line, ...], tuple[int, ...]]:
        """The lines that fit a question, and the ids of the prompt with them; neither if there are none."""
        if self.lines is None or not self.reads_lines:
            return (), ()
        used = self.prefix.num_tokens + len(turn_ids(self.turns)) + len(question_ids)
        lines = self.lines.fitting(question, self._max_line_tokens(used), self._count_tokens, self._span)
        if not lines:
            return (), ()
        ids = self.engine.template.question(
            question, first=not self.turns, has_frames=self.source is not None, lines=quote_all(lines)
        )
        return lines, tuple(ids)

    def _max_line_tokens(self, num_used_tokens: int) -> int:
        """At most half of what the context has left."""
        return min(MAX_TOKENS, (self.engine.model.context_length - num_used_tokens) // 2)

    def _count_tokens(self, text: str) -> int:
        return len(self.engine.processor.encode_text(text))

    @property
    def _span(self) -> Span:
        """The range that the frames are from. Lines from elsewhere would be about what the model does not see."""
        if not isinstance(self.source, VideoSource):
            return WHOLE_VIDEO
        return self.source.plan.start_seconds, self.source.plan.end_seconds

    def _answer(self, asked: Turn, started: float, prefill_seconds: float) -> Iterator[Progress | TextDelta]:
        """Stream the answer to a turn that has none yet, with the prefix acquired."""
        earlier = turn_ids(self.turns)
        num_tokens = self.prefix.num_tokens + len(earlier) + len(asked.given_ids)
        sampling = self._within_context(asked.sampling, num_tokens)
        tokens: list[NewToken] = []
        pieces: list[str] = []
        first_seconds, found = 0.0, self.prefix.status
        text = TextStream(self.engine.processor)
        try:
            with closing(self.prefix.generate(earlier, asked.given_ids, sampling)) as events:
                for event in events:
                    if isinstance(event, Progress):
                        yield event
                        continue
                    first_seconds = first_seconds or time.perf_counter() - started
                    tokens.append(event)
                    pieces.append(text.add(event.id))
                    if pieces[-1]:
                        yield TextDelta(pieces[-1])
                    if self._stop.is_set():
                        break
        except Exception:
            tokens.clear()
            raise
        finally:
            if tokens:
                if found != self.prefix.status:  # an engine elsewhere had lost the prefix
                    prefill_seconds = first_seconds
                stats = self._stats(tokens, num_tokens, prefill_seconds, first_seconds, time.perf_counter() - started)
                self._add_turn(replace(asked, answer="".join(pieces), stats=stats, sampling=sampling), tokens)

    def _stats(
        self, tokens: list[NewToken], num_tokens: int, prefill_seconds: float, first_seconds: float, seconds: float
    ) -> AnswerStats:
        status = self.prefix.status
        is_hit = status == CacheStatus.HIT
        return AnswerStats(
            num_tokens=num_tokens,
            num_new_tokens=len(tokens),
            seconds_to_first_token=first_seconds,
            seconds_to_prefill=0.0 if is_hit else prefill_seconds,
            seconds_to_decode=0.0 if is_hit else self.prefix.seconds_decoding,
            seconds=seconds,
            cache=status,
            was_evicted=status == CacheStatus.MISS and bool(self.turns),
            log_probability=sum(token.log_probability for token in tokens) / len(tokens),
        )

    def _add_turn(self, turn: Turn, tokens: list[NewToken]) -> None:
        answer_ids = [token.id for token in tokens]
        ended = answer_ids[-1] in self.engine.stop_ids
        stats = replace(turn.stats, stopped=not ended and len(answer_ids) < turn.sampling.max_new_tokens)
        kept = answer_ids[:-1] if ended else answer_ids
        ids = (*kept, self.engine.template.end_of_turn)
        attribution = self.prefix.attention(len(kept))
        self.turns.append(replace(turn, stats=stats, answer_ids=ids, attribution=attribution))

    @property
    def _has_video(self) -> bool:
        return self.source is not None and self.source.kind == "video"

    def _undo(self) -> Turn | None:
        if not self.turns:
            return None
        turn = self.turns.pop()
        self.prefix.truncate(len(turn_ids(self.turns)))
        return turn

    def _within_context(self, sampling: Sampling, used: int) -> Sampling:
        """The sampling with `max_new_tokens` limited to what the context has left after a prompt of `used` tokens.

        Raises:
            ContextError: fewer than `MIN_ANSWER_TOKENS` are left.
        """
        context_length = self.engine.model.context_length
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


def turn_ids(turns: Sequence[Turn]) -> list[int]:
    """The tokens of these turns."""
    return [token for turn in turns for token in turn.ids]
