"""What a conversation is made of, and what is told while it goes on."""

from dataclasses import dataclass, field
from typing import Literal

from longva_demo.chat.evidence import MAX_ROWS, MAX_WEIGHED_TOKENS, Evidence
from longva_demo.chat.sampling import Sampling

# How a question found its video: read just now, kept in the model's memory, or fetched back from the host's.
Way = Literal["read", "kept", "fetched"]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` frames are through `stage`: "sampling" (decoded) or "reading" (in the model's cache).

    Stage "question" counts tokens instead, of the question and earlier turns, where they take several steps.
    Where the stage is "waiting": number `done` of `total` in the line, for about so many `seconds`, if that is known.
    """

    stage: str
    done: int
    total: int
    seconds: float | None = None


@dataclass(frozen=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True)
class AnswerStats:
    """How an answer came about. Seconds count from the moment of asking."""

    num_tokens: int = 0  # the whole prompt: frames, earlier turns and the question
    num_new_tokens: int = 0
    seconds_to_first_token: float = 0.0
    seconds_to_read: float = 0.0
    seconds_to_decode: float = 0.0  # of these, waiting for frames
    seconds: float = 0.0
    way: Way = "read"
    read_again: bool = False  # it was read before by this chat, but had to make room for others
    stopped: bool = False
    log_probability: float = 0.0  # of the answer, mean over its tokens, in nats

    @property
    def reused(self) -> bool:
        """Whether the video was read before, so that only the question was new."""
        return self.way != "read"

    @property
    def tokens_per_second(self) -> float:
        seconds = self.seconds - self.seconds_to_first_token
        return (self.num_new_tokens - 1) / seconds if seconds > 0 and self.num_new_tokens > 1 else 0.0


@dataclass(frozen=True)
class Turn:
    """One question and its answer; the ids are all the tokens that they add to the conversation.

    sampling: how the answer was chosen, its length cut to what the context had left.
    """

    question: str
    answer: str
    stats: AnswerStats
    sampling: Sampling
    question_ids: tuple[int, ...] = field(repr=False)
    answer_ids: tuple[int, ...] = field(repr=False)  # the end-of-turn token included
    evidence: Evidence | None = field(default=None, repr=False)  # of an answer about a video

    @property
    def ids(self) -> tuple[int, ...]:
        return self.question_ids + self.answer_ids

    @property
    def weighed_ids(self) -> tuple[int, ...]:
        """The part of the answer that stands for it when frames are hidden."""
        return self.answer_ids[:-1][:MAX_ROWS]

    @property
    def num_weighed_tokens(self) -> int:
        """What hiding frames has to read again, once for each frame."""
        return len(self.question_ids) + len(self.weighed_ids)

    @property
    def is_too_long_to_weigh(self) -> bool:
        """Whether its frames are left out of the evidence: the page and the saved chat say so."""
        return self.evidence is not None and self.num_weighed_tokens > MAX_WEIGHED_TOKENS


@dataclass(frozen=True)
class FrameRef:
    """A frame that the model was given: its number in the video and its presentation time."""

    index: int
    seconds: float
