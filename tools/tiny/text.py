"""The tokenizer, and how an episode becomes a sequence of tokens."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from longva_demo.tiny.clips import Episode, colour_change, motion, needles, order, picture
from longva_demo.tiny.questions import NOTHING, REFUSAL, symbol_answer, word_answer
from longva_demo.tiny.scenes import SYMBOLS, WORDS, Mix
from tools.tiny.network import TOKENS_PER_FRAME
from tools.tiny.normalizer import normalizer
from tools.tiny.out_of_scope_questions import out_of_scope_question

VOCAB_SIZE = 704
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPLIT = (  # as in Qwen2's tokenizer
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
TURN_END = "<|im_end|>\n<|im_start|>assistant\n"
TURN_NEXT = "<|im_end|>\n<|im_start|>user\n"
IGNORE = -100
REFUSAL_TOKENS = 4  # of an isolated refusal, how many count in the loss


def corpus(seed: int, count: int) -> Iterator[str]:
    """Training text of the tokenizer. Words of the scenes are repeated, so that each becomes one token."""
    rng, mix = random.Random(seed), Mix()
    yield from ["system\nYou are a helpful assistant.\nuser\nassistant\n", REFUSAL, NOTHING] * (count // 10)
    yield from [symbol_answer(symbol) for symbol in range(len(SYMBOLS))] * (count // 10)
    yield from [text for word in range(len(WORDS)) for text in (word_answer(word), f"the word {WORDS[word]}")] * count
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
        yield out_of_scope_question(rng)


def train_tokenizer(seed: int = 3, count: int = 1500) -> Tokenizer:
    """Byte-level BPE of VOCAB_SIZE tokens, the three ChatML tokens last, in the layout of Qwen2's tokenizer."""
    tokenizer = Tokenizer(BPE())
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
    tokenizer.normalizer = normalizer()
    return tokenizer


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences. `is_frame` marks the frame tokens; labels are IGNORE outside the answers.

    `turn` is 0 before the first question, and 1, 2 … in isolated turns. In a conversation it is 0 everywhere.
    """

    ids: Tensor  # (batch, length) int64
    labels: Tensor  # (batch, length) int64: the next token
    is_frame: Tensor  # (batch, length) bool
    turn: Tensor  # (batch, length) int64

    @property
    def isolated(self) -> bool:
        return bool(self.turn.any())

    def mask(self) -> Tensor | None:
        """(batch, 1, length, length) bool, True where a query (row) sees a key; None for plain causal attention."""
        if not self.isolated:
            return None
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        visible = (self.turn[:, None, :] == 0) | (self.turn[:, :, None] == self.turn[:, None, :])
        return (causal & visible)[:, None]


class Encoder:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.end = int(tokenizer.token_to_id("<|im_end|>") or 0)
        self.pad = int(tokenizer.token_to_id("<|endoftext|>") or 0)
        self.known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        if text not in self.known:
            if len(self.known) > 200_000:
                self.known.clear()
            self.known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self.known[text]

    def sequence(self, episode: Episode, isolated: bool = False) -> tuple[list[int], list[int], list[int]]:
        """Token ids (0 for frame tokens), labels and turn numbers.

        The frames come first in the first user turn. Every answer ends with the end-of-turn token. With `isolated`,
        each question is written as a first question: several one-turn conversations that share their frames.
        """
        tokens = self.ids(SYSTEM) + [0] * (TOKENS_PER_FRAME * len(episode.frames))
        for index, line in enumerate(episode.lines):
            tokens += (self.ids("\n") if index else []) + self.ids(line)
        lead = self.ids("\n") if episode.frames or episode.lines else []
        wanted, turn = [False] * len(tokens), [0] * len(tokens)
        for index, one in enumerate(episode.asked):
            first = isolated or index == 0
            opening = lead if first else self.ids(TURN_NEXT)[1:]  # the previous answer already ends with <|im_end|>
            question = opening + self.ids(one.question) + self.ids(TURN_END)
            answer = [*self.ids(one.answer), self.end]
            if isolated and one.answer == REFUSAL:  # the first tokens decide; the rest would dominate the mean loss
                answer = answer[:REFUSAL_TOKENS]
            tokens += question + answer
            wanted += [False] * len(question) + [True] * len(answer)
            turn += [index + 1 if isolated else 0] * (len(question) + len(answer))
        labels = [tokens[at + 1] if wanted[at + 1] else IGNORE for at in range(len(tokens) - 1)] + [IGNORE]
        return tokens, labels, turn

    def batch(self, episodes: Sequence[Episode], isolated: bool = False) -> Batch:
        rows = [self.sequence(episode, isolated) for episode in episodes]
        length = max(len(tokens) for tokens, _, _ in rows)
        ids = torch.full((len(rows), length), self.pad)
        labels = torch.full((len(rows), length), IGNORE)
        is_frame = torch.zeros((len(rows), length), dtype=torch.bool)
        turns = torch.zeros((len(rows), length), dtype=torch.long)
        start = len(self.ids(SYSTEM))
        for at, (tokens, targets, turn) in enumerate(rows):
            ids[at, : len(tokens)] = torch.tensor(tokens)
            labels[at, : len(tokens)] = torch.tensor(targets)
            turns[at, : len(tokens)] = torch.tensor(turn)
            is_frame[at, start : start + TOKENS_PER_FRAME * len(episodes[at].frames)] = True
        return Batch(ids, labels, is_frame, turns)
