"""`RemoteEngine`: checks at the start that the engine elsewhere gives the same answers as the model here would."""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import torch

from longva_demo.chat.budget import TEXT_TOKENS, BudgetMeter, PrefillTimes
from longva_demo.chat.engine import Capability, ChatPrefix, Figure, ModelInfo
from longva_demo.chat.prompt import ChatTemplate
from longva_demo.chat.remote.check import Card, check_plugin, read_card
from longva_demo.chat.remote.counts import Counts
from longva_demo.chat.remote.health import Health
from longva_demo.chat.remote.prefix import Prompt, RemotePrefix
from longva_demo.chat.remote.transport import Transport
from longva_demo.chat.remote.wire import PLACE
from longva_demo.chat.sampling import Sampling
from longva_demo.errors import DemoError, ModelError, short
from longva_demo.model import LongVAConfig, LongVAProcessor
from longva_demo.model.hub import locate_texts, read_json
from longva_demo.settings import Settings
from longva_demo.unires import best_resolution

log = logging.getLogger(__name__)

# Prompts whose items are remembered, so that another chat about the same frames need not send them.
MAX_PROMPTS = 256
# Videos that are prefilled at a time on each replica.
PREFILLS_PER_REPLICA = 3


class RemoteEngine:
    """The `Engine` that asks replicas of vLLM, or one of them, at an address. `connect` opens it."""

    def __init__(self, transport: Transport, card: Card, settings: Settings) -> None:
        """Reads the configuration and the tokenizer of the model that `card` names; no weights.

        Raises:
            ModelError: they cannot be found.
        """
        self.settings = settings
        self.transport = transport
        self.served = card.served
        folder = locate_texts(card.model_id, card.revision)
        config = LongVAConfig.from_pretrained(folder)
        dtype: torch.dtype = config.dtype if isinstance(config.dtype, torch.dtype) else torch.bfloat16
        self.processor = LongVAProcessor.from_pretrained(folder)
        self.template = ChatTemplate(self.processor)
        self.prefill_times = PrefillTimes()
        self.counts = Counts()
        self.model = ModelInfo(
            id=card.model_id,
            revision=card.revision,
            quant="none",
            dtype=str(dtype).removeprefix("torch."),
            device="remote",
            reason=f"{card.model_id} answers, on an engine elsewhere.",
            context_length=min(config.context_length, card.max_model_len),
            tokens_per_frame=config.tokens_per_frame,
            attention="vllm",
            is_here=False,
        )
        [self.place] = self.processor.encode_text(PLACE, allow_special=True)
        generation = read_generation(folder)
        eos = generation.get("eos_token_id")
        self.stop_ids = frozenset({self.template.end_of_turn, *([eos] if isinstance(eos, int) else eos or [])})
        self._penalty = float(generation.get("repetition_penalty") or 1.0)
        self._token_bytes = config.kv_bytes_per_token(dtype)
        self._pinpoints, self._side = config.grid_pinpoints, config.vision_config.image_size
        self._lock = threading.Lock()
        self._prompts: OrderedDict[object, Prompt] = OrderedDict()
        self._health = Health(transport)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Open the engine at `settings.engine`.

        Raises:
            ModelError: it does not answer, refuses the key, serves another model, or lacks the plugin.
        """
        transport = Transport(base_address(settings.engine), settings.engine_key)
        card = read_card(transport)
        if settings.model not in ("auto", card.model_id, card.served):
            what = f"the engine serves {card.served}, not {settings.model}"
            raise ModelError(what, f"use --model {card.model_id}, or another --engine")
        engine = cls(transport, card, settings)
        check_plugin(transport, card.served, engine.template.header, engine.place, engine.processor)
        log.info("%s", engine.model.reason)
        engine._health.watch()
        return engine

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()

    @property
    def default_frames(self) -> int:
        return self.settings.num_frames

    @property
    def num_replicas(self) -> int:
        return self._health.num_replicas

    @property
    def max_prefills(self) -> int:
        return PREFILLS_PER_REPLICA * self.num_replicas

    def meter(self, num_frames: int, held_bytes: int = 0) -> BudgetMeter:  # noqa: ARG002
        """The replicas' memory is their own affair: vLLM starts only if a whole context fits."""
        size, length = self.model.tokens_per_frame, self.model.context_length
        num_tokens = num_frames * size
        largest = max(0, (length - TEXT_TOKENS - self.settings.max_new_tokens) // size)
        return BudgetMeter(num_frames, num_tokens, length, num_tokens * self._token_bytes, largest, None)

    def open_prefix(self, should_stop: threading.Event, is_shared: bool = True) -> ChatPrefix:
        return RemotePrefix(self, should_stop, is_shared)

    def health(self) -> str:
        return self._health.problem or "ok"

    def figures(self) -> Iterator[Figure]:
        health = self._health
        return self.counts.figures(not health.problem, health.num_replicas, self.model.context_length)

    def sampling_params(self, sampling: Sampling, so_far: Sequence[int]) -> dict[str, Any]:
        """For an answer that begins with the tokens `so_far`, which a lost replica had given.

        They are the end of the prompt; for an answer of a schema, where the replica counts from its first token, the
        replica chooses them again.
        """
        is_again = bool(sampling.json_schema)
        params: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens - (0 if is_again else len(so_far)),
            "stop_token_ids": sorted(self.stop_ids),
            "logprobs": 0,
            "detokenize": False,
        }
        extra: dict[str, Any] = {"answer_penalty": self._penalty} if self._penalty != 1.0 else {}
        if is_again:
            params["structured_outputs"] = {"json": sampling.json_schema}
            extra |= {"forced_ids": list(so_far)} if so_far else {}
        elif extra:
            extra["answer_so_far"] = len(so_far)
        return {**params, "extra_args": extra} if extra else params

    def num_columns(self, size: tuple[int, int]) -> int:
        """Into how many columns of grids UniRes cuts a picture of (width, height)."""
        return best_resolution(size, self._pinpoints)[0] // self._side

    def session_of(self, key: object, is_shared: bool) -> tuple[str, str]:
        """The session's name for the router, equal for chats about the same frames, and the salt of an unshared one."""
        name = sha256(repr(key).encode()).hexdigest()[:32]
        return (name, "") if is_shared else (name, secrets.token_hex(8))

    def find_prompt(self, key: object) -> Prompt | None:
        with self._lock:
            return self._prompts.get(key)

    def keep_prompt(self, prompt: Prompt) -> None:
        with self._lock:
            self._prompts[prompt.key] = prompt
            self._prompts.move_to_end(prompt.key)
            while len(self._prompts) > MAX_PROMPTS:
                self._prompts.popitem(last=False)

    def forget_prompt(self, key: object) -> None:
        with self._lock:
            self._prompts.pop(key, None)


def base_address(address: str) -> str:
    """The address without a slash at its end; /v1, which is not part of it, is dropped.

    Raises:
        DemoError: it is not an HTTP address.

    >>> base_address("http://router:30000/v1/")
    'http://router:30000'
    """
    base = address.rstrip("/").removesuffix("/v1")
    scheme, _, rest = base.partition("://")
    if scheme not in ("http", "https") or not rest or "@" in rest or any(c.isspace() for c in rest):
        raise DemoError(f"{short(address)} is not the address of an engine", "use http://host:port")
    return base


def read_generation(folder: Path) -> dict[str, Any]:
    """Stop tokens and repetition penalty of the model."""
    file = folder / "generation_config.json"
    return read_json(file) if file.exists() else {}
