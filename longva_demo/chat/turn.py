"""What a conversation is made of, and what is told while it goes on."""

from dataclasses import dataclass, field
from typing import Literal

from longva_demo.chat.evidence import Evidence
from longva_demo.chat.sampling import Sampling

# How a question found its video: read just now, kept in the model's memory, or fetched back from the host's.
Way = Literal["read", "kept", "fetched"]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` frames are through `stage`: "sampling" (decoded) or "reading" (in the model's cache).

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


@dataclass(frozen=True)
class FrameRef:
    """A frame that the model was given: its number in the video and its presentation time."""

    index: int
    seconds: float
