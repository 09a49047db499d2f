"""The parts of a conversation, and the events of an answer."""

from dataclasses import dataclass, field
from enum import StrEnum

from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS, MAX_ROWS, Attribution
from longva_demo.chat.sampling import Sampling
from longva_demo.timed_text import Line


class Stage(StrEnum):
    """What happens to a question before the first word of its answer."""

    QUEUED = "queued"
    SAMPLING = "sampling"  # frames are being decoded
    ENCODING = "encoding"  # frames go through the vision tower; only the needle test reports it
    PREFILL = "prefill"  # frames go into the KV cache
    WINDOWS = "windows"  # windows of frames are asked about one by one; only a search reports it
    QUESTION = "question"  # tokens of the question and earlier turns go into the KV cache


class CacheStatus(StrEnum):
    """Whether a question found its prefix in the prefix cache; RESTORED from host memory."""

    HIT = "hit"
    RESTORED = "restored"
    MISS = "miss"


@dataclass(frozen=True)
class Progress:
    """`done` of `total` frames have passed `stage`.

    QUESTION counts tokens instead, if they take several steps. QUEUED gives the position in the queue (1 is next), its
    length and the estimated wait in `seconds`, if it is known. Where a frame takes long, `share` counts its parts.
    """

    stage: Stage
    done: int
    total: int
    seconds: float | None = None
    share: float | None = None

    @property
    def share_done(self) -> float:
        return self.done / max(1, self.total) if self.share is None else self.share


@dataclass(frozen=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True)
class AnswerStats:
    """Figures of an answer. Seconds count from the question."""

    num_tokens: int = 0  # of the prompt: frames, earlier turns and the question
    num_new_tokens: int = 0
    seconds_to_first_token: float = 0.0
    seconds_to_prefill: float = 0.0
    seconds_to_decode: float = 0.0  # part of `seconds_to_prefill`: waiting for frames
    seconds: float = 0.0
    cache: CacheStatus = CacheStatus.MISS
    was_evicted: bool = False  # a miss because the prefix of this chat was evicted
    stopped: bool = False
    log_probability: float = 0.0  # of the answer, mean over its tokens, in nats

    @property
    def reused(self) -> bool:
        """Whether the prefix was cached, so that only the question was prefilled."""
        return self.cache is not CacheStatus.MISS

    @property
    def tokens_per_second(self) -> float:
        seconds = self.seconds - self.seconds_to_first_token
        return (self.num_new_tokens - 1) / seconds if seconds > 0 and self.num_new_tokens > 1 else 0.0


@dataclass(frozen=True)
class Turn:
    """One question and its answer."""

    question: str
    answer: str
    stats: AnswerStats
    sampling: Sampling  # with `max_new_tokens` limited to what the context had left
    question_ids: tuple[int, ...] = field(repr=False)
    answer_ids: tuple[int, ...] = field(repr=False)  # the end-of-turn token included
    attribution: Attribution | None = field(default=None, repr=False)  # of an answer about a video
    lines: tuple[Line, ...] = field(default=(), repr=False)  # of what is said and written, in this question's prompt
    prompt_ids: tuple[int, ...] = field(default=(), repr=False)  # in place of `question_ids`, if there are lines

    @property
    def given_ids(self) -> tuple[int, ...]:
        """The question as the model was given it. Later questions follow it without its lines."""
        return self.prompt_ids or self.question_ids

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens that the turn adds to the conversation."""
        return self.question_ids + self.answer_ids

    @property
    def attributed_ids(self) -> tuple[int, ...]:
        """The part of the answer that occlusion measures."""
        return self.answer_ids[:-1][:MAX_ROWS]

    @property
    def num_attributed_tokens(self) -> int:
        """Tokens that occlusion prefills once per window."""
        return len(self.given_ids) + len(self.attributed_ids)

    @property
    def is_too_long_to_attribute(self) -> bool:
        """Whether occlusion is skipped; the page and the saved chat say so."""
        return self.attribution is not None and self.num_attributed_tokens > MAX_ATTRIBUTED_TOKENS


@dataclass(frozen=True)
class FrameRef:
    """A frame that the model was given: its index in the video and its presentation time."""

    index: int
    seconds: float
