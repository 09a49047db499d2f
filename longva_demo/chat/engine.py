"""What a chat, the page and the commands ask of an engine, whether the model runs in this process or elsewhere."""

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

from longva_demo.chat.attribution import Attribution
from longva_demo.chat.budget import BudgetMeter, PrefillTimes
from longva_demo.chat.prompt import ChatTemplate
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.source import Source
from longva_demo.chat.turn import CacheStatus, Progress
from longva_demo.model import LoadedModel, LongVAProcessor
from longva_demo.model.estimate import Estimate
from longva_demo.settings import Settings

Stop = Callable[[], bool]


class Capability(StrEnum):
    """What some engines can do, and others cannot. The page shows nothing that needs a missing one."""

    ATTENTION = "attention"  # each frame's share of an answer's attention
    NEEDLE_TEST = "needle_test"
    WINDOWS = "windows"  # questions about some of the frames alone: search and chapters


@dataclass(frozen=True)
class ModelInfo:
    """The model behind an engine.

    Attributes:
        revision: the Hub's commit, or a hash of the weights; "" if it is unknown.
        device: where it runs, for the user.
        attention: "flash_attention_2", "flash_kernel" or "sdpa"; "vllm" elsewhere.
        is_here: whether it runs on this machine.
        reason: why this model was chosen, for the user.
        adapter: how a LoRA adapter was applied: "merged", "kept", or "" without one.
        estimate: how long it takes on this processor; None on a GPU, elsewhere, and for a small model.
    """

    id: str
    revision: str
    quant: str
    dtype: str
    device: str
    reason: str
    context_length: int
    tokens_per_frame: int
    attention: str
    is_here: bool = True
    adapter: str = ""
    estimate: Estimate | None = None

    @classmethod
    def of(cls, loaded: LoadedModel) -> Self:
        config = loaded.model.config
        return cls(
            id=loaded.model_id,
            revision=loaded.revision,
            quant=loaded.quant,
            dtype=str(loaded.dtype).removeprefix("torch."),
            device=str(loaded.device),
            reason=loaded.reason,
            context_length=config.context_length,
            tokens_per_frame=config.tokens_per_frame,
            attention=loaded.attention,
            adapter=loaded.adapter,
            estimate=loaded.estimate,
        )


class NewToken(NamedTuple):
    """A token of an answer. `log_probability` is in nats."""

    id: int
    log_probability: float


@dataclass(frozen=True)
class Figure:
    """A metric of the engine, for /metrics: one value per label."""

    name: str
    help: str
    values: dict[str, float] = field(default_factory=dict)
    label: str = ""  # the label's name; without one, `values` has the single key ""
    is_counter: bool = False


class ChatPrefix(Protocol):
    """What one chat has at an engine: the prefix of its source (header and frames), then its turns.

    Between `acquire` and `release` it is this chat's alone.
    """

    source: Source | None
    status: CacheStatus
    """how the prefix was found for the last question"""
    seconds_decoding: float
    """that the last `acquire` waited for frames"""

    @property
    def is_cached(self) -> bool:
        """Whether the next question finds the prefix of the present source, so that no frames need prefill."""

    @property
    def num_tokens(self) -> int:
        """Tokens of header and frames."""

    @property
    def evictable_bytes(self) -> int:
        """Bytes of memory that a new prefix may evict."""

    def acquire(self) -> Generator[Progress]:
        """Acquire the prefix, with a prefill if it is not cached, and set `status`. Ends early if the chat is stopped.

        Raises:
            DemoError: the source cannot be decoded, memory is short, or the engine does not answer.
        """

    def release(self) -> None:
        """Let other chats use the prefix."""

    def truncate(self, num_tokens: int) -> None:
        """Drop all but the first `num_tokens` tokens of this chat's turns."""

    def generate(
        self, turn_ids: Sequence[int], question_ids: Sequence[int], sampling: Sampling
    ) -> Generator[Progress | NewToken]:
        """Answer a question after the turns `turn_ids`, with the prefix acquired; the end-of-turn token included.

        Ends early if the chat is stopped. Raises DemoError as `acquire`.
        """

    def attention(self, num_tokens: int) -> Attribution | None:
        """Each frame's share of the attention of the answer just generated, without tokens after the first
        `num_tokens`; None if the engine does not know it, or memory is short."""

    def log_prob_drops(
        self, turn_ids: Sequence[int], question_ids: Sequence[int], answer_ids: Sequence[int], attribution: Attribution
    ) -> tuple[tuple[int, float], ...] | None:
        """(frame, drop of the answer's log-probability in nats without it) of the candidates, largest drop first.

        None after the chat was stopped, if memory is short, or if the prefix is no longer cached.
        """

    def drop_on_error(self) -> AbstractContextManager[None]:
        """After an error of the engine inside the block, the prefix is not used again."""

    def close(self) -> None:
        """Free everything that no other chat uses."""


class Engine(Protocol):
    """A model that answers chats: in this process (`LocalEngine`) or elsewhere (`RemoteEngine`)."""

    settings: Settings
    processor: LongVAProcessor
    template: ChatTemplate
    prefill_times: PrefillTimes
    stop_ids: frozenset[int]

    @property
    def model(self) -> ModelInfo: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def default_frames(self) -> int:
        """The budget where none is chosen."""

    @property
    def max_prefills(self) -> int:
        """How many videos it prefills at a time; others wait in the queue."""

    def meter(self, num_frames: int, held_bytes: int = 0) -> BudgetMeter:
        """The cost of `num_frames` frames; `held_bytes` of memory would be freed first."""

    def open_prefix(self, should_stop: threading.Event, is_shared: bool = True) -> ChatPrefix:
        """The prefix of a new chat. `is_shared`: it may be that of another chat about the same frames."""

    def figures(self) -> Iterable[Figure]:
        """Its metrics."""

    def health(self) -> str:
        """ "ok", or in one line what is wrong."""
