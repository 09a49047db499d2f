"""The engine: one loaded model, asked step by step. Each step holds the model alone, so several chats take turns."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Self, TypeVar, cast

import numpy as np
import torch
from tokenizers.decoders import DecodeStream
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from longva_demo.chat.attribution import (
    AT_ONCE,
    Attribution,
    FrameLayout,
    QueryRecorder,
    attention_layers,
    attention_to_frames,
)
from longva_demo.chat.budget import BudgetMeter, PrefillTimes, host_free_memory, measure_budget
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.model_thread import ModelThread
from longva_demo.chat.occlusion import OccludedPrefill, Occlusion
from longva_demo.chat.prefix_cache import CachedPrefix, PrefixCache
from longva_demo.chat.prompt import ChatTemplate
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.steps import BACKGROUND_SHARE, MAX_STEP_FRAMES, StepCost
from longva_demo.errors import BudgetError
from longva_demo.model import LoadedModel, LongVAProcessor, load
from longva_demo.settings import Settings

Stop = Callable[[], bool]
T = TypeVar("T")

# Below it the likeliest token alone is left; far below, logits overflow.
MIN_TEMPERATURE = 1e-6
SECONDS_BETWEEN_LOOKS = 0.05  # while somebody else's frames are weighed


class Engine:
    """Turns pixels and token ids into cache entries, and cache entries into new tokens. steps.py lists its steps."""

    def __init__(self, loaded: LoadedModel, settings: Settings, keep_features: bool = False) -> None:
        """`keep_features`: sources keep the frames' features on disk even where they are larger than their pixels, for
        a host where no cache survives a question.
        """
        self.keep_features = keep_features
        self.loaded = loaded
        self.settings = settings
        self.processor = loaded.processor
        self.prefill_times = PrefillTimes()
        self.prefix_cache = PrefixCache(host_free_memory if loaded.device.type != "cpu" else None)
        self.template = ChatTemplate(loaded.processor)
        self._model = loaded.model
        self._cost = StepCost.of(loaded.model.config, loaded.device)
        self._thread = ModelThread()
        self._weighing = threading.Lock()  # one chat at a time: others wait for one background step, not for several
        eos = loaded.model.generation_config.eos_token_id
        self.stop_ids = {self.template.end_of_turn, *([eos] if isinstance(eos, int) else eos or [])}

    @classmethod
    def from_settings(cls, settings: Settings, keep_features: bool = False) -> Self:
        """Load the model that the settings name; `load` logs which one and why."""
        loaded = load(settings.model, settings.quant, settings.device, settings.dtype, settings.attention)
        return cls(loaded, settings, keep_features)

    @property
    def identity(self) -> tuple[object, ...]:
        """What, beside the source, a kept prefix depends on."""
        loaded = self.loaded
        return (loaded.model_id, loaded.revision, loaded.quant, str(loaded.dtype), loaded.attention)

    def meter(self, num_frames: int, held_bytes: int = 0) -> BudgetMeter:
        """The cost of `num_frames` frames and the largest number that fits; see `BudgetMeter`."""
        return measure_budget(self.loaded, num_frames, self.settings.max_new_tokens, held_bytes)

    def evict_for(self, num_frames: int) -> None:
        """Have what nobody uses leave the model's memory, as far as `num_frames` need it."""
        while not self.meter(num_frames).fits and self.prefix_cache.evict_oldest():
            pass

    def new_cache(self, num_tokens: int) -> GrowingCache:
        """An empty cache with room for `num_tokens`."""
        config = self._model.config
        like = torch.empty(0, dtype=self.loaded.dtype, device=self.loaded.device)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        num_kv_heads = config.num_key_value_heads or config.num_attention_heads
        return self._step(lambda: GrowingCache(config.num_hidden_layers, num_kv_heads, head_dim, num_tokens, like))

    def copy_cache(self, cache: GrowingCache, num_tokens: int, room: int) -> GrowingCache:
        """A cache of its own that begins with the first `num_tokens` tokens of `cache`, with room for `room`."""
        copy = self.new_cache(room)
        self._step(lambda: copy.take_from(cache, num_tokens))
        return copy

    def restore(self, prefix: CachedPrefix, room: int) -> None:
        """Have what was put by in the model's memory again, with room for `room` tokens."""
        self._step(lambda: prefix.restore(self.loaded.device, room))

    def encode_frames(self, pixels: np.ndarray) -> torch.Tensor:
        """Features (frames, tokens_per_frame, dim) of frames, uint8 (frames, S, S, 3)."""
        parts = [pixels[first : first + MAX_STEP_FRAMES] for first in range(0, len(pixels), MAX_STEP_FRAMES)]
        features = [self._step(partial(self._encode_frames, part)) for part in parts]
        return self._step(lambda: torch.cat(features)) if len(features) > 1 else features[0]

    def prefill_frames(self, parts: Sequence[torch.Tensor], cache: GrowingCache) -> None:
        """Append frame features (frames, tokens_per_frame, dim), in parts, to the cache, one entry a token."""
        together = self._step(lambda: torch.cat(list(parts)).to(self.loaded.device).flatten(0, 1))
        self._append(together, cache)

    def prefill_image(self, slots: np.ndarray, cache: GrowingCache) -> None:
        """Append a picture, uint8 (1 + at most MAX_STEP_FRAMES grids, S, S, 3) with the base first, to the cache."""
        self._append(self._step(lambda: self._model.encode_image(self._to_device(slots))), cache)

    def prefill_text(self, ids: list[int], cache: GrowingCache, recorder: QueryRecorder | None = None) -> torch.Tensor:
        """`prefill_text_steps` without a pause."""
        steps = self.prefill_text_steps(ids, cache, recorder)
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                return cast(torch.Tensor, ended.value)

    def prefill_text_steps(
        self, ids: list[int], cache: GrowingCache, recorder: QueryRecorder | None = None
    ) -> Generator[int, None, torch.Tensor]:
        """Append token ids to the cache; return the logits after the last one, float32 (vocabulary,).

        Yields between its steps how many ids are done. Whoever does not go on has a part of them in the cache.
        """
        first = 0
        while len(ids) - first > (room := self._room_of_step(cache)):
            part = ids[first : first + room]
            self._step(lambda part=part: self._feed(self._embed(part)[0], cache))  # type: ignore[misc]
            self._settle()
            first += room
            yield first
        last = ids[first:]

        def read() -> torch.Tensor:
            with recorder.row(cache.get_seq_length() + len(last) - 1) if recorder else nullcontext():
                # One position is projected: all of them would be tokens × vocabulary logits.
                output = self._model(
                    inputs_embeds=self._embed(last), past_key_values=cache, use_cache=True, logits_to_keep=1
                )
            return output.logits[0, -1].float()

        return self._step(read)

    def generate(
        self, logits: torch.Tensor, cache: GrowingCache, sampling: Sampling, recorder: QueryRecorder | None = None
    ) -> Iterator[tuple[int, float]]:
        """New token ids with their log-probabilities (nats), the end-of-turn token included.

        The last token is not yet in the cache.
        """
        warpers = self._warpers(sampling)
        new_ids: list[int] = []
        for count in range(sampling.max_new_tokens):
            if count:
                logits = self.prefill_text(new_ids[-1:], cache, recorder)
            token, log_probability = self._choose(logits, new_ids, warpers, sampling.temperature > 0)
            new_ids.append(token)
            yield token, log_probability
            if token in self.stop_ids:
                return

    def recorder(self) -> QueryRecorder:
        return QueryRecorder(self._model)

    def attribute_frames(self, recorder: QueryRecorder, cache: GrowingCache, frames: FrameLayout) -> Attribution:
        """What the recorded rows attended to: each frame's share of the attention to frames."""
        layers = attention_layers(self._model.config.num_hidden_layers)
        parts = [self._step(partial(attention_to_frames, recorder, cache, frames, layer)) for layer in layers]
        total = torch.stack(parts).sum(0)
        return Attribution(tuple((total / total.sum()).tolist()))

    def log_prob_drops(
        self, hiding: Occlusion, candidates: Sequence[int], question: Sequence[int], answer: Sequence[int], stop: Stop
    ) -> tuple[tuple[int, float], ...] | None:
        """(candidate, fall) by how far an answer's log-probability (nats) falls without it, the largest fall first.

        The first window of `hiding` hides nothing, each other one a candidate. It gives way to everything else that
        uses the model, before each of its short steps. None after `stop()`.
        """
        num_tokens = len(question) + len(answer)
        rows = self._cost.num_tokens(hiding.length + num_tokens, BACKGROUND_SHARE)
        at_once = min(AT_ONCE, max(1, rows // num_tokens))
        found: list[float] = []
        with self._weighing_alone(stop):
            for first in range(0, len(hiding.windows), at_once):
                some = replace(hiding, windows=hiding.windows[first : first + at_once])
                reading = OccludedPrefill(self._model, some, question, answer)
                while not reading.is_done:
                    if not self._thread.give_way(stop):
                        return None
                    self._background_step(partial(reading.advance, rows // at_once))
                found += reading.log_probabilities
        log_prob_drops = zip(candidates, (found[0] - one for one in found[1:]), strict=True)
        return tuple(sorted(log_prob_drops, key=lambda fall: -fall[1]))

    def text_stream(self) -> "TextStream":
        return TextStream(self.processor)

    def _warpers(self, sampling: Sampling) -> LogitsProcessorList:
        warpers = LogitsProcessorList()
        penalty = self._model.generation_config.repetition_penalty
        if penalty is not None and penalty != 1.0:
            warpers.append(RepetitionPenaltyLogitsProcessor(penalty))
        if sampling.temperature > 0:
            warpers.append(TemperatureLogitsWarper(max(float(sampling.temperature), MIN_TEMPERATURE)))
            if sampling.top_p < 1:
                warpers.append(TopPLogitsWarper(sampling.top_p))
        return warpers

    def _choose(
        self, logits: torch.Tensor, new_ids: list[int], warpers: LogitsProcessorList, sample: bool
    ) -> tuple[int, float]:
        """The next token with its log-probability (nats)."""

        def choose() -> tuple[int, float]:
            # As in the original, the repetition penalty sees the answer's own tokens, not the prompt.
            history = torch.tensor([new_ids], dtype=torch.long, device=logits.device)
            scores = warpers(cast(torch.LongTensor, history), cast(torch.FloatTensor, logits[None].clone()))[0]
            token = int(torch.multinomial(scores.softmax(-1), 1) if sample else scores.argmax())
            return token, float(logits[token] - logits.logsumexp(-1))

        return self._step(choose)

    def _to_device(self, pixels: np.ndarray) -> torch.Tensor:
        return self.processor.normalise(pixels).to(self.loaded.device, self.loaded.dtype)

    def _embed(self, ids: list[int]) -> torch.Tensor:
        tokens = torch.tensor([ids], device=self.loaded.device)
        return self._model.get_input_embeddings()(tokens)  # (1, tokens, dim)

    def _encode_frames(self, pixels: np.ndarray) -> torch.Tensor:
        return self._model.encode_frames(self._to_device(pixels))

    def _append(self, embeds: torch.Tensor, cache: GrowingCache) -> None:
        """Append embeddings (tokens, dim) to the cache, in steps."""
        first = 0
        while first < len(embeds):
            part = embeds[first : first + self._room_of_step(cache)]
            self._step(partial(self._feed, part, cache))
            first += len(part)

    def _room_of_step(self, cache: GrowingCache) -> int:
        """Tokens that may be appended to the cache in one step."""
        return self._cost.num_tokens(cache.get_seq_length())

    def _feed(self, embeds: torch.Tensor, cache: GrowingCache) -> None:
        self._model.model(inputs_embeds=embeds[None], past_key_values=cache, use_cache=True)

    def _settle(self) -> None:
        """Wait for the device: steps that were only launched would pile up there, and could not be stopped any more."""
        if self.loaded.device.type == "cuda":
            torch.cuda.synchronize(self.loaded.device)

    @contextmanager
    def _weighing_alone(self, stop: Stop) -> Iterator[None]:
        """One chat at a time, others wait here; after `stop()` without waiting."""
        is_mine = False
        while not is_mine and not stop():
            is_mine = self._weighing.acquire(timeout=SECONDS_BETWEEN_LOOKS)
        try:
            yield
        finally:
            if is_mine:
                self._weighing.release()

    def _step(self, use: Callable[[], T]) -> T:
        """One uninterrupted use of the model; running out of memory becomes a BudgetError."""
        return self._thread.run(partial(self._use, use))

    def _background_step(self, use: Callable[[], T]) -> T:
        """The same for what gives way to others, ended on the device too."""

        def whole() -> T:
            result = use()
            self._settle()
            return result

        return self._thread.run_in_background(partial(self._use, whole))

    @torch.inference_mode()
    def _use(self, use: Callable[[], T]) -> T:
        try:
            return use()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if self.loaded.device.type == "cuda":
                torch.cuda.empty_cache()
            raise BudgetError("the memory ran out", "set a smaller budget", 0) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or (a plain RuntimeError in torch) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


class TextStream:
    """Token ids in, text out, whole characters only."""

    def __init__(self, processor: LongVAProcessor) -> None:
        self._tokenizer = processor.tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def add(self, token: int) -> str:
        """The text that this token completes; empty in the middle of a character."""
        return self._stream.step(self._tokenizer, token) or ""
