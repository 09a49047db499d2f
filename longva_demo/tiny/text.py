"""The small tokenizer, and how an episode becomes one sequence of tokens."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from longva_demo.tiny.clips import Episode, colour_change, motion, needles, order, picture
from longva_demo.tiny.network import TOKENS_PER_FRAME
from longva_demo.tiny.outside_questions import outside_question
from longva_demo.tiny.questions import DECLINE, NOTHING
from longva_demo.tiny.scenes import Mix

VOCAB_SIZE = 640
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPLIT = (  # as in Qwen2's tokenizer
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
TURN_END = "<|im_end|>\n<|im_start|>assistant\n"
TURN_NEXT = "<|im_end|>\n<|im_start|>user\n"
IGNORE = -100


def corpus(seed: int, count: int) -> Iterator[str]:
    """Questions and answers for the tokenizer to learn its pieces from."""
    rng, mix = random.Random(seed), Mix()
    yield from ["system\nYou are a helpful assistant.\nuser\nassistant\n", DECLINE, NOTHING] * (count // 10)
    for _ in range(count):
        for episode in (
            picture(rng, mix, 6),
            motion(rng, mix, 6, 5),
            colour_change(rng, mix, 4, 4),
            order(rng, mix, 6, 4),
            needles(rng, 8, 3, 4),
        ):
            for one in episode.asked:
                yield one.question
                yield one.answer
        yield outside_question(rng)


def train_tokenizer(seed: int = 3, count: int = 1500) -> Tokenizer:
    """Byte-level BPE of VOCAB_SIZE tokens, the three marks of ChatML last, in the layout of Qwen2's tokenizer."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, count), trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


@dataclass(frozen=True)
class Batch:
    """Sequences padded on the right. `is_frame` marks the places of frame tokens; labels are IGNORE but in answers."""

    ids: Tensor  # (batch, length) int64
    labels: Tensor  # (batch, length) int64: the token to come after each place
    is_frame: Tensor  # (batch, length) bool


class Encoder:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.end = tokenizer.token_to_id("<|im_end|>")
        self.pad = tokenizer.token_to_id("<|endoftext|>")
        self.known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        if text not in self.known:
            if len(self.known) > 200_000:
                self.known.clear()
            self.known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self.known[text]

    def sequence(self, episode: Episode) -> tuple[list[int], list[int], list[bool]]:
        """Tokens (0 where a frame token stands), labels, and which places are frame tokens.

        The frames come first in the first user turn; every answer is followed by the mark of a turn's end.
        """
        num_frame_tokens = TOKENS_PER_FRAME * len(episode.frames)
        head = self.ids(SYSTEM)
        tokens = head + [0] * num_frame_tokens + (self.ids("\n") if episode.frames else [])
        is_frame = (
            [False] * len(head) + [True] * num_frame_tokens + [False] * (len(tokens) - len(head) - num_frame_tokens)
        )
        wanted = [False] * len(tokens)
        for index, one in enumerate(episode.asked):
            question = self.ids(one.question) + self.ids(TURN_END)
            answer = [*self.ids(one.answer), self.end]
            if index > 0:
                question = self.ids(TURN_NEXT)[1:] + question  # the answer's own end mark is already there
            tokens += question + answer
            wanted += [False] * len(question) + [True] * len(answer)
        is_frame += [False] * (len(tokens) - len(is_frame))
        labels = [tokens[at + 1] if wanted[at + 1] else IGNORE for at in range(len(tokens) - 1)] + [IGNORE]
        return tokens, labels, is_frame

    def batch(self, episodes: Sequence[Episode]) -> Batch:
        rows = [self.sequence(episode) for episode in episodes]
        length = max(len(tokens) for tokens, _, _ in rows)
        ids = torch.full((len(rows), length), self.pad)
        labels = torch.full((len(rows), length), IGNORE)
        is_frame = torch.zeros((len(rows), length), dtype=torch.bool)
        for at, (tokens, targets, frames) in enumerate(rows):
            ids[at, : len(tokens)] = torch.tensor(tokens)
            labels[at, : len(tokens)] = torch.tensor(targets)
            is_frame[at, : len(tokens)] = torch.tensor(frames)
        return Batch(ids, labels, is_frame)
