"""The engine in this process: one loaded model, used step by step. Chats alternate between steps."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Self, TypeVar, cast

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from longva_demo.chat.attribution import (
    Attribution,
    FrameLayout,
    QueryRecorder,
    attention_layers,
    attention_to_frames,
)
from longva_demo.chat.budget import BudgetMeter, PrefillTimes, host_free_memory, measure_budget
from longva_demo.chat.engine import Capability, ChatPrefix, Figure, ModelInfo, Stop
from longva_demo.chat.json_schema import SchemaMask
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.layerwise import append_steps, feed
from longva_demo.chat.model_thread import ModelThread
from longva_demo.chat.occlusion import MAX_BATCH, OccludedPrefill, Occlusion
from longva_demo.chat.prefix_cache import CachedPrefix, PrefixCache
from longva_demo.chat.prompt import ChatTemplate
from longva_demo.chat.queue import MAX_ADMITTED
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.steps import BACKGROUND_SHARE, StepCost
from longva_demo.chat.windows import WindowPrompt, first_token_log_probs
from longva_demo.errors import BudgetError
from longva_demo.model import LoadedModel, load
from longva_demo.settings import Settings

T = TypeVar("T")

# Below it only the most likely token has any probability; far below, logits overflow.
MIN_TEMPERATURE = 1e-6
DEFAULT_FRAMES = Settings().num_frames
DEFAULT_SECONDS = 60.0  # to the first word, where the budget is not chosen
POLL_SECONDS = 0.05  # while another chat's attribution runs


class LocalEngine:
    """Turns pixels and token ids into cache entries, and cache entries into new tokens. steps.py lists its steps."""

    def __init__(self, loaded: LoadedModel, settings: Settings, keep_features: bool = False) -> None:
        """`keep_features`: store the frames' features on disk even if they are larger than the pixels, for a host where
        no KV cache survives a question.
        """
        self.keep_features = keep_features
        self.loaded = loaded
        self.model = ModelInfo.of(loaded)
        self.settings = settings
        self.processor = loaded.processor
        self.prefill_times = PrefillTimes.expected(loaded.estimate, settings.max_frames)
        self.prefix_cache = PrefixCache(host_free_memory if loaded.device.type == "cuda" else None)
        self.template = ChatTemplate(loaded.processor)
        self._model = loaded.model
        self._cost = StepCost.of(loaded.model.config, loaded.device, loaded.estimate)
        self._thread = ModelThread()
        self._attributing = threading.Lock()  # one chat at a time, so that others wait for one background step at most
        eos = loaded.model.generation_config.eos_token_id
        self.stop_ids = frozenset({self.template.end_of_turn, *([eos] if isinstance(eos, int) else eos or [])})

    @classmethod
    def from_settings(cls, settings: Settings, keep_features: bool = False) -> Self:
        """Load the model that the settings name; `load` logs which one and why."""
        loaded = load(settings.model, settings.quant, settings.device, settings.dtype, settings.attention)
        return cls(loaded, settings, keep_features)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    @property
    def max_prefills(self) -> int:
        return MAX_ADMITTED

    @property
    def max_step_frames(self) -> int:
        """Frames, or grids of a picture, that are encoded in one step."""
        return self._cost.max_frames

    @property
    def default_frames(self) -> int:
        """The budget where none is chosen: that of the settings, or on a slow processor what takes about a minute."""
        frames, estimate = self.settings.num_frames, self.model.estimate
        if estimate is None or frames != DEFAULT_FRAMES:
            return frames
        return min(frames, estimate.frames_within(DEFAULT_SECONDS))

    @property
    def identity(self) -> tuple[object, ...]:
        """What a cached prefix depends on, beside the source."""
        loaded = self.loaded
        return (loaded.model_id, loaded.revision, loaded.quant, str(loaded.dtype), loaded.attention)

    def meter(self, num_frames: int, held_bytes: int = 0) -> BudgetMeter:
        """The cost of `num_frames` frames and the largest number that fits; see `BudgetMeter`."""
        return measure_budget(self.loaded, num_frames, self.settings.max_new_tokens, held_bytes)

    def open_prefix(self, should_stop: threading.Event, is_shared: bool = True) -> ChatPrefix:
        # Imported late: a prefix is prefilled by an engine.
        from longva_demo.chat.local_prefix import LocalPrefix

        return LocalPrefix(self, should_stop, is_shared)

    def figures(self) -> Iterable[Figure]:
        return self.prefix_cache.figures()

    def health(self) -> str:
        return "ok"

    def evict_for(self, num_frames: int) -> None:
        """Evict idle prefixes until `num_frames` fit or none is left."""
        while not self.meter(num_frames).fits and self.prefix_cache.evict_oldest():
            pass

    def new_cache(self, num_tokens: int) -> GrowingCache:
        """An empty cache allocated for `num_tokens` tokens."""
        config = self._model.config
        like = torch.empty(0, dtype=self.loaded.dtype, device=self.loaded.device)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        num_kv_heads = config.num_key_value_heads or config.num_attention_heads
        return self._step(lambda: GrowingCache(config.num_hidden_layers, num_kv_heads, head_dim, num_tokens, like))

    def copy_cache(self, cache: GrowingCache, num_tokens: int, capacity: int) -> GrowingCache:
        """A copy of the first `num_tokens` tokens of `cache`, allocated for `capacity` tokens."""
        copy = self.new_cache(capacity)
        self._step(lambda: copy.copy_from(cache, num_tokens))
        return copy

    def restore(self, prefix: CachedPrefix, capacity: int) -> None:
        """Move an offloaded prefix back to the model's device, allocated for `capacity` tokens."""
        self._step(lambda: prefix.restore(self.loaded.device, capacity))

    def encode_frames(self, pixels: np.ndarray) -> torch.Tensor:
        """Features (frames, tokens_per_frame, dim) of frames, uint8 (frames, S, S, 3)."""
        step = self._cost.max_frames
        parts = [pixels[first : first + step] for first in range(0, len(pixels), step)]
        features = [self._step(partial(self._encode_frames, part)) for part in parts]
        return self._step(lambda: torch.cat(features)) if len(features) > 1 else features[0]

    def embed_text(self, ids: list[int]) -> torch.Tensor:
        """Embeddings (1, tokens, dim) of token ids, as a part for `prefill_frames_steps`."""
        return self._step(lambda: self._embed(ids))

    def prefill_frames(self, parts: Sequence[torch.Tensor], cache: GrowingCache) -> None:
        """`prefill_frames_steps` in one call."""
        for _ in self.prefill_frames_steps(parts, cache):
            pass

    def prefill_frames_steps(self, parts: Sequence[torch.Tensor], cache: GrowingCache) -> Iterator[float]:
        """Append frame features, given in parts (frames, tokens_per_frame, dim), to the cache.

        Yields the share that is done between its steps. A caller that stops early has to drop the cache.
        """
        embeds = self._step(lambda: torch.cat([part.flatten(0, 1) for part in parts]).to(self.loaded.device))
        yield from append_steps(self._model.model, embeds, cache, self._cost, self._step)

    def prefill_image(self, slots: np.ndarray, cache: GrowingCache) -> None:
        """`prefill_image_steps` in one call."""
        for _ in self.prefill_image_steps(slots, cache):
            pass

    def prefill_image_steps(self, slots: np.ndarray, cache: GrowingCache) -> Iterator[float]:
        """Append a picture, uint8 (1 + at most `max_step_frames` grids, S, S, 3) with the base first, to the cache.

        Yields as `prefill_frames_steps`.
        """
        embeds = self._step(lambda: self._model.encode_image(self._to_device(slots)))
        yield from append_steps(self._model.model, embeds, cache, self._cost, self._step)

    def prefill_text(self, ids: list[int], cache: GrowingCache, recorder: QueryRecorder | None = None) -> torch.Tensor:
        """`prefill_text_steps` in one call."""
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

        Yields the number of ids done between its steps. A caller that stops early leaves part of them in the cache.
        """
        first = 0
        while len(ids) - first > (count := self._tokens_per_step(cache)):
            part = ids[first : first + count]
            self._step(lambda part=part: feed(self._model.model, self._embed(part)[0], cache))  # type: ignore[misc]
            self._synchronize()
            first += count
            yield first
        last = ids[first:]

        def prefill_last() -> torch.Tensor:
            with recorder.row(cache.get_seq_length() + len(last) - 1) if recorder else nullcontext():
                # Project one position only: all of them would be tokens × vocabulary logits.
                output = self._model(
                    inputs_embeds=self._embed(last), past_key_values=cache, use_cache=True, logits_to_keep=1
                )
            return output.logits[0, -1].float()

        return self._step(prefill_last)

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

    def window_log_probs(
        self, windows: torch.Tensor, question: list[int], tokens: Sequence[int]
    ) -> Iterator[torch.Tensor]:
        """Ask `question` about each window of frames on its own; see windows.py.

        `windows` are features (windows, frames, tokens_per_frame, dim). Yields the log-probabilities (some windows,
        tokens) of each of `tokens` as the answer's first one, in the order of the windows, between its steps.
        """
        prompt = WindowPrompt(self.template.header, question, tuple(tokens))
        length = prompt.num_tokens(windows)
        batch_size = max(1, self._cost.num_tokens(length) // length)
        for first in range(0, len(windows), batch_size):
            part = windows[first : first + batch_size]
            yield self._step(partial(first_token_log_probs, self._model, prompt, part))

    def recorder(self) -> QueryRecorder:
        return QueryRecorder(self._model)

    def attribute_frames(self, recorder: QueryRecorder, cache: GrowingCache, frames: FrameLayout) -> Attribution:
        """Each frame's share of the recorded rows' attention to frames."""
        layers = attention_layers(self._model.config.num_hidden_layers)
        parts = [self._step(partial(attention_to_frames, recorder, cache, frames, layer)) for layer in layers]
        total = torch.stack(parts).sum(0)
        return Attribution(tuple((total / total.sum()).tolist()))

    def log_prob_drops(
        self,
        occlusion: Occlusion,
        candidates: Sequence[int],
        question: Sequence[int],
        answer: Sequence[int],
        stop: Stop,
    ) -> tuple[tuple[int, float], ...] | None:
        """(candidate, drop of the answer's log-probability in nats without it), largest drop first.

        The first window of `occlusion` hides nothing, each other one a candidate. Runs in the background, in short
        steps that yield to everything else. None after `stop()`.
        """
        num_tokens = len(question) + len(answer)
        rows = self._cost.num_tokens(occlusion.length + num_tokens, BACKGROUND_SHARE)
        batch_size = min(MAX_BATCH, max(1, rows // num_tokens))
        log_probs: list[float] = []
        with self._attribution_turn(stop):
            for first in range(0, len(occlusion.windows), batch_size):
                batch = replace(occlusion, windows=occlusion.windows[first : first + batch_size])
                prefill = OccludedPrefill(self._model, batch, question, answer)
                while not prefill.is_done:
                    if not self._thread.wait_until_idle(stop):
                        return None
                    self._background_step(partial(prefill.advance, rows // batch_size))
                log_probs += prefill.log_probs
        drops = zip(candidates, (log_probs[0] - occluded for occluded in log_probs[1:]), strict=True)
        return tuple(sorted(drops, key=lambda drop: -drop[1]))

    def _warpers(self, sampling: Sampling) -> LogitsProcessorList:
        warpers = LogitsProcessorList()
        penalty = self._model.generation_config.repetition_penalty
        if penalty is not None and penalty != 1.0:
            warpers.append(RepetitionPenaltyLogitsProcessor(penalty))
        if sampling.json_schema:
            vocab_size = self._model.config.vocab_size
            warpers.append(SchemaMask(self.processor, self.stop_ids, vocab_size, sampling.json_schema))
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
            # As in the original, the repetition penalty sees the answer's tokens, not the prompt's.
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

    def _tokens_per_step(self, cache: GrowingCache) -> int:
        """Tokens that may be appended to the cache in one step."""
        return self._cost.num_tokens(cache.get_seq_length())

    def _synchronize(self) -> None:
        """Wait for the device: steps that are only launched would pile up there, where nothing can stop them."""
        if self.loaded.device.type == "cuda":
            torch.cuda.synchronize(self.loaded.device)
        elif self.loaded.device.type == "mps":
            torch.mps.synchronize()

    @contextmanager
    def _attribution_turn(self, stop: Stop) -> Iterator[None]:
        """Wait for the attributions of other chats, unless `stop()`."""
        has_lock = False
        while not has_lock and not stop():
            has_lock = self._attributing.acquire(timeout=POLL_SECONDS)
        try:
            yield
        finally:
            if has_lock:
                self._attributing.release()

    def _step(self, use: Callable[[], T]) -> T:
        """One uninterrupted use of the model; running out of memory becomes a BudgetError."""
        return self._thread.run(partial(self._use, use))

    def _background_step(self, use: Callable[[], T]) -> T:
        """The same for background work; waits until the device has finished it."""

        def use_and_wait() -> T:
            result = use()
            self._synchronize()
            return result

        return self._thread.run_in_background(partial(self._use, use_and_wait))

    @torch.inference_mode()
    def _use(self, use: Callable[[], T]) -> T:
        try:
            return use()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if self.loaded.device.type == "cuda":
                torch.cuda.empty_cache()
            elif self.loaded.device.type == "mps":
                torch.mps.empty_cache()
            raise BudgetError("out of memory", "set a smaller budget", 0) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: on a GPU, or, as a plain RuntimeError of torch, on the CPU or on MPS."""
    texts = ("can't allocate memory", "MPS backend out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in texts)
