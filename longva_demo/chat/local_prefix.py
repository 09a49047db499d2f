"""A chat's prefix in the KV cache of the model in this process, and what is computed on top of it."""

from collections.abc import Generator, Sequence
from typing import cast

import torch

from longva_demo.chat.attribution import Attribution, FrameLayout, QueryRecorder
from longva_demo.chat.engine import NewToken
from longva_demo.chat.occlusion import Occlusion
from longva_demo.chat.prefill import SourcePrefix
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.turn import Progress, Stage
from longva_demo.errors import BudgetError


class LocalPrefix(SourcePrefix):
    """The `ChatPrefix` of a `LocalEngine`.

    The KV cache always holds some of `header, frames, turns`, from the start. A question prefills what is missing.
    This covers a dropped cache, one that another chat used, a resumed turn, and the last token of an answer, which
    generation leaves out of the cache.
    """

    _recorder: QueryRecorder | None = None  # of the last answer about a video

    def generate(
        self, turn_ids: Sequence[int], question_ids: Sequence[int], sampling: Sampling
    ) -> Generator[Progress | NewToken]:
        self._recorder = self._engine.recorder() if self._has_video else None
        with self.drop_on_error():
            logits = yield from self._prefill_question(turn_ids, question_ids)
            if logits is not None:
                for token, log_probability in self._engine.generate(logits, self.cache, sampling, self._recorder):
                    yield NewToken(token, log_probability)

    def attention(self, num_tokens: int) -> Attribution | None:
        """Leaves out the row that predicts the end of the turn: it attends to nothing in particular."""
        if self._recorder is None or num_tokens == 0:
            return None
        recorder, self._recorder = self._recorder, None
        recorder.truncate(num_tokens)
        try:
            return self._engine.attribute_frames(recorder, self.cache, self._frame_layout())
        except BudgetError:
            return None

    def log_prob_drops(
        self, turn_ids: Sequence[int], question_ids: Sequence[int], answer_ids: Sequence[int], attribution: Attribution
    ) -> tuple[tuple[int, float], ...] | None:
        if not self.try_acquire():
            return None
        try:
            return self._log_prob_drops(turn_ids, question_ids, answer_ids, attribution.candidates)
        except BudgetError:
            return None
        finally:
            self.release()

    def _log_prob_drops(
        self,
        turn_ids: Sequence[int],
        question_ids: Sequence[int],
        answer_ids: Sequence[int],
        candidates: Sequence[int],
    ) -> tuple[tuple[int, float], ...] | None:
        missing = turn_ids[self._num_turn_tokens :]
        if missing:  # another chat used the cache
            with self.drop_on_error():
                for _ in self._engine.prefill_text_steps(list(missing), self.cache):
                    if self._should_stop.is_set():
                        return None
        length = self.num_tokens + len(turn_ids)
        occlusion = Occlusion(self.cache, length, self._frame_layout().windows(candidates))
        return self._engine.log_prob_drops(occlusion, candidates, question_ids, answer_ids, self._should_stop.is_set)

    def _prefill_question(
        self, turn_ids: Sequence[int], question_ids: Sequence[int]
    ) -> Generator[Progress, None, torch.Tensor | None]:
        """Prefill missing turns and the question; returns the logits after them, or None if the chat was stopped."""
        ids = [*turn_ids[self._num_turn_tokens :], *question_ids]
        steps = self._engine.prefill_text_steps(ids, self.cache, self._recorder)
        is_complete = False
        try:
            while not self._should_stop.is_set():
                try:
                    yield Progress(Stage.QUESTION, next(steps), len(ids))
                except StopIteration as ended:
                    is_complete = True
                    return cast(torch.Tensor, ended.value)
            return None
        finally:
            if not is_complete:  # drop the part of the question that is in the cache
                length = self.num_tokens + len(turn_ids)
                self.cache.truncate(min(self.cache.get_seq_length(), length))

    @property
    def _num_turn_tokens(self) -> int:
        """Tokens of the turns that are in the cache."""
        return self.cache.get_seq_length() - self.num_tokens

    @property
    def _has_video(self) -> bool:
        return self.source is not None and self.source.kind == "video"

    def _frame_layout(self) -> FrameLayout:
        assert self.source is not None
        header, size = len(self._engine.template.header), self._engine.model.tokens_per_frame
        return FrameLayout(header, size, len(self.source.frame_refs))
