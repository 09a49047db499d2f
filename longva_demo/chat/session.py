"""A chat about one video: read once, asked many times, each turn undone by cutting the cache."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from longva_demo.chat.budget import TEXT_TOKENS, BudgetMeter
from longva_demo.chat.cache import GrowingCache
from longva_demo.chat.engine import Engine, Sampling
from longva_demo.chat.evidence import AT_ONCE, MAX_ROWS, Evidence, FramePlaces, Hiding, QueryRecorder
from longva_demo.chat.shelf import Prefix, Shelf
from longva_demo.chat.source import Source, VideoSource
from longva_demo.chat.turn import AnswerStats, FrameRef, Progress, TextDelta, Turn
from longva_demo.errors import BudgetError, DemoError, VideoError

# Frames that are encoded and appended to the cache in one step: 2,304 tokens of LongVA-7B.
READ_CHUNK_FRAMES = 16
# An answer needs room for at least this many tokens.
MIN_ANSWER_TOKENS = 16


class ChatSession:
    """One person's conversation. One question runs at a time; `stop` may be called from any thread.

    The cache always holds a beginning of `header, frames, turns`: `_prefix_length` tokens of header and frames, then
    some of the turns' ids. What is missing is fed with the next question, so a dropped cache, a restored turn and
    the last token of an answer (which `generate` leaves out of the cache) are all the same case.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.turns: list[Turn] = []
        self.source: Source | None = None
        self._cache: GrowingCache | None = None
        self._prefix_length = 0
        self._prefix_key: tuple[object, ...] | None = None
        self._shelf = Shelf()
        self._stop = threading.Event()
        self._busy = threading.Lock()

    # What the chat is about

    def look_at(self, source: Source | None) -> None:
        """Ask about `source` from now on; None is text alone. Another source clears the turns.

        What was read of the old one is put by while there is room: coming back, its first answer is quick again.

        Raises:
            BudgetError: its frames do not fit into the context or the memory; the session stays as it was.
        """
        with self._alone():
            if source is self.source:
                return
            if source is not None:
                self.meter(source.num_frames).check()
            if source is None or self.source is None or source.key != self.source.key:
                kept = self._shelf.take(self._key(source)) if self._shelf else None
                self._put_by()
                self.turns = []
                if kept is not None:
                    self._cache, self._prefix_key = kept.cache, kept.key
                    self._prefix_length = kept.cache.get_seq_length()
            self.source = source

    def meter(self, num_frames: int) -> BudgetMeter:
        """The cost of `num_frames` frames, where what this chat holds would be freed for them."""
        return self.engine.meter(num_frames, self._held_bytes())

    @property
    def frames(self) -> list[FrameRef]:
        """The frames read, or being read; frames that could not be decoded are missing."""
        if not isinstance(self.source, VideoSource):
            return []
        return [FrameRef(*pair) for pair in zip(self.source.indices, self.source.seconds, strict=False)]

    @property
    def notes(self) -> list[str]:
        """What was lost or guessed while reading, a sentence each."""
        return list(self.source.notes) if self.source is not None else []

    # Asking

    def ask(self, question: str, sampling: Sampling | None = None) -> Iterator[Progress | TextDelta]:
        """Read the source if that was not done yet, then stream the answer; the finished turn is `turns[-1]`.

        Stopping, or closing the generator, keeps what was answered so far. After an error nothing has changed.

        Raises:
            DemoError: empty question, no room left in the context, unreadable video, memory run out, or a question
                is being answered already.
        """
        with self._alone():
            self._stop.clear()
            yield from self._ask(question, sampling or Sampling())

    def undo(self) -> Turn | None:
        """Take the last turn back, and return it; None when there is none."""
        with self._alone():
            return self._undo()

    def retry(self, sampling: Sampling | None = None) -> Iterator[Progress | TextDelta]:
        """Ask the last question again; when that fails, the old answer stays."""
        return self.edit(None, sampling)

    def edit(self, question: str | None, sampling: Sampling | None = None) -> Iterator[Progress | TextDelta]:
        """Put `question` (None: the same one) in place of the last one; when that fails, the old turn stays."""
        with self._alone():
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

    def try_without_frames(self) -> Turn | None:
        """See how far the last answer's probability falls without the frames that it attended to most.

        Returns the last turn, whose evidence now has `falls`; None where there is nothing to try, after `stop`, or
        where the memory lacks for it. The conversation stays as it is.
        """
        with self._alone():
            self._stop.clear()
            turn = self.turns[-1] if self.turns else None
            if turn is None or turn.evidence is None or not self._is_read() or len(turn.answer_ids) < 2:
                return None
            falls = self._falls(turn, turn.evidence)
            if falls is None:
                return None
            self.turns[-1] = replace(turn, evidence=replace(turn.evidence, falls=falls))
            return self.turns[-1]

    def clear(self) -> None:
        """Forget the conversation, but not the video that was read."""
        with self._alone():
            self.turns = []
            self._cut_cache()

    def stop(self) -> None:
        """End the running answer within one token, or the running reading within one chunk of frames."""
        self._stop.set()

    def resume(self, source: Source | None, turns: list[Turn]) -> None:
        """Take over a conversation that was held elsewhere (in another process): its cache is built anew when asked."""
        with self._alone():
            self._drop_cache()
            self.source = source
            self.turns = list(turns)

    def close(self) -> None:
        """Stop, and free the cache and the kept frames."""
        self.stop()
        with self._busy:
            self._drop_cache()
            self._shelf.clear()
            if isinstance(self.source, VideoSource):
                self.source.close()

    # How

    def _ask(self, question: str, sampling: Sampling) -> Iterator[Progress | TextDelta]:
        started = time.perf_counter()
        has_frames = self.source is not None
        question_ids = self.engine.template.question(question, first=not self.turns, has_frames=has_frames)
        reused = self._is_read()
        if not reused:
            yield from self._read()
            if self._stop.is_set():
                return
        stats = AnswerStats(reused=reused, seconds_to_read=0.0 if reused else time.perf_counter() - started)
        assert self._cache is not None
        sampling = self._within_context(sampling, len(question_ids))
        num_fed = self._cache.get_seq_length() - self._prefix_length
        pending = [*self._turn_ids()[num_fed:], *question_ids]
        answer_ids: list[int] = []
        pieces: list[str] = []
        log_probabilities: list[float] = []
        text = self.engine.text_stream()
        recorder = self.engine.recorder() if isinstance(self.source, VideoSource) else None
        try:
            with self._rescue():
                logits = self.engine.read_text(pending, self._cache, recorder)
                stats = replace(stats, num_tokens=self._cache.get_seq_length())
                for token, log_probability in self.engine.generate(logits, self._cache, sampling, recorder):
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
        evidence = self._weigh(recorder) if recorder else None
        stats = replace(stats, stopped=stopped)
        self.turns.append(Turn(question, answer, stats, sampling, tuple(question_ids), ids, evidence))

    def _weigh(self, recorder: QueryRecorder) -> Evidence | None:
        """What a finished answer attended to; None where memory lacks for that: the answer stands without it."""
        assert self._cache is not None
        try:
            return self.engine.weigh_frames(recorder, self._cache, self._frame_places())
        except BudgetError:
            return None

    def _falls(self, turn: Turn, evidence: Evidence) -> tuple[tuple[int, float], ...] | None:
        """(place, fall in nats) of the candidates, the largest fall first; None after `stop` or without memory."""
        assert self._cache is not None
        frames, candidates = self._frame_places(), evidence.candidates
        length = self._prefix_length + len(self._turn_ids()) - len(turn.ids)
        answer = turn.answer_ids[:-1][:MAX_ROWS]
        windows = [(0, 0), *(frames.window(place) for place in candidates)]  # the first hides nothing
        found: list[float] = []
        for first in range(0, len(windows), AT_ONCE):
            if self._stop.is_set():
                return None
            hiding = Hiding(self._cache, length, tuple(windows[first : first + AT_ONCE]))
            try:
                found += self.engine.log_probabilities(hiding, turn.question_ids, answer)
            except BudgetError:
                return None
        falls = zip(candidates, (found[0] - one for one in found[1:]), strict=True)
        return tuple(sorted(falls, key=lambda fall: -fall[1]))

    def _frame_places(self) -> FramePlaces:
        header = len(self.engine.template.header)
        return FramePlaces(header, self.engine.loaded.model.config.tokens_per_frame, len(self.frames))

    def _read(self) -> Iterator[Progress]:
        """Fill a new cache with the header and the source. Dropped again unless all of it was read."""
        self._drop_cache()
        header = self.engine.template.header
        num_frames = self.source.num_frames if self.source is not None else 0
        while self._shelf and not self.engine.meter(num_frames).fits:
            self._shelf.drop_oldest()
        cache = self.engine.new_cache(self.engine.meter(num_frames).num_tokens + TEXT_TOKENS)
        with self._rescue():
            self.engine.read_text(header, cache)
            if isinstance(self.source, VideoSource):
                yield from self._read_video(self.source, cache)
            elif self.source is not None:
                self.engine.read_image(self.source.slots, cache)
        if self._stop.is_set():
            return
        self._cache = cache
        self._prefix_length = cache.get_seq_length()
        self._prefix_key = self._key(self.source)

    def _read_video(self, source: VideoSource, cache: GrowingCache) -> Iterator[Progress]:
        done = 0
        for features in self._features(source):
            if self._stop.is_set():
                return
            if features is None:
                yield Progress("sampling", len(source.indices), source.num_frames)
                continue
            self.engine.read_features(features, cache)
            done += len(features)
            yield Progress("reading", done, source.num_frames)
        if done == 0 and not self._stop.is_set():
            raise VideoError(f"no frame of {source.info.path.name} could be decoded", "try another video")

    def _features(self, source: VideoSource) -> Iterator[torch.Tensor | None]:
        """Features of the next frames, (at most READ_CHUNK_FRAMES, tokens, dim); None while they are being decoded."""
        if source.has_features:
            yield from source.features()
            return
        start = 0
        for pixels in source.pixels(READ_CHUNK_FRAMES, self._stop.is_set):
            if pixels is None:
                yield None
                continue
            features = self.engine.encode_frames(pixels)
            if self.engine.keep_features:
                source.keep_features(features, start)
            start += len(features)
            yield features

    def _undo(self) -> Turn | None:
        if not self.turns:
            return None
        turn = self.turns.pop()
        self._cut_cache()
        return turn

    def _turn_ids(self) -> list[int]:
        return [token for turn in self.turns for token in turn.ids]

    def _cut_cache(self) -> None:
        """Cut from the cache what is no longer part of the conversation."""
        if self._cache is not None:
            self._cache.cut_to(min(self._cache.get_seq_length(), self._prefix_length + len(self._turn_ids())))

    def _drop_cache(self) -> None:
        self._cache = None
        self._prefix_key = None

    def _put_by(self) -> None:
        """Keep what was read of the present source, without the turns."""
        if self._cache is not None and self._is_read():
            self._cache.cut_to(self._prefix_length)
            self._shelf.put(Prefix(self._key(self.source), self._cache), self.engine.meter(0).free_bytes or 0)
        self._drop_cache()

    def _key(self, source: Source | None) -> tuple[object, ...]:
        return (source.key if source is not None else None, *self.engine.identity)

    def _is_read(self) -> bool:
        return self._cache is not None and self._prefix_key == self._key(self.source)

    def _held_bytes(self) -> int:
        return self._shelf.num_bytes + (self._cache.num_bytes if self._cache is not None else 0)

    def _within_context(self, sampling: Sampling, num_question_tokens: int) -> Sampling:
        """The sampling with its answer cut to what the context has left.

        Raises:
            DemoError: less than `MIN_ANSWER_TOKENS` are left.
        """
        context_length = self.engine.loaded.model.config.context_length
        used = self._prefix_length + len(self._turn_ids()) + num_question_tokens
        room = context_length - used
        if room < MIN_ANSWER_TOKENS:
            raise DemoError(
                f"the conversation needs {used:,} of the model's {context_length:,} tokens, too many to answer",
                "ask more briefly, clear the chat, or set a smaller budget",
            )
        return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, room))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise DemoError("this chat is still answering", "wait for the answer, or press Stop")
        try:
            yield
        finally:
            self._busy.release()

    @contextmanager
    def _rescue(self) -> Iterator[None]:
        """After an error inside the model its cache may be torn (some layers ahead of others): drop it."""
        try:
            yield
        except BudgetError as error:
            self._drop_cache()
            self._shelf.clear()
            num_frames = self.source.num_frames if self.source is not None else 0
            largest = max(1, num_frames // 2)
            raise BudgetError(
                f"the memory ran out with {num_frames:,} frames",
                f"set the budget to {largest:,} or less",
                largest,
            ) from error
        except Exception:
            self._drop_cache()
            raise
