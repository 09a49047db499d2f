"""What an answer of a JSON schema costs per token, with a vocabulary as large as LongVA-7B's.

The tokenizer is drawn: byte-level BPE with random merges. Run it with `python -m bench.json_schema`.
"""

import json
import random
import time
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from longva_demo.chat.json_schema import SchemaMask

NUM_TOKENS, VOCABULARY = 151_643, 152_064  # of the tokenizer, and of the logits
MAX_LENGTH, MAX_ANSWER = 14, 200
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "what": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["colour", "what", "count"],
    "additionalProperties": False,
}


def draw_tokenizer() -> Tokenizer:
    rng, alphabet = random.Random(0), sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = [letter for letter in alphabet if letter.isascii() and letter.isalpha()]
    words, merges = list(alphabet), []
    known = set(words)
    while len(words) < NUM_TOKENS:
        pair = words[rng.randrange(len(words))], rng.choice(letters if rng.random() < 0.8 else alphabet)
        word = "".join(pair)
        if len(word) <= MAX_LENGTH and word not in known:
            known.add(word)
            words.append(word)
            merges.append(pair)
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


class Processor:
    """The part of LongVA's that is used."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = SimpleNamespace(backend_tokenizer=tokenizer)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = draw_tokenizer()
    processor: Any = Processor(tokenizer)
    stop = tokenizer.token_to_id("<|im_end|>")
    assert stop is not None
    seconds = []
    for _ in range(2):
        started = time.process_time()
        mask = SchemaMask(processor, frozenset([stop]), VOCABULARY, json.dumps(SCHEMA))
        seconds.append(time.process_time() - started)
    ids: list[int] = []
    steps = []
    while len(ids) < MAX_ANSWER and (not ids or ids[-1] != stop):
        scores = torch.randn(1, VOCABULARY)
        started = time.process_time()
        scores = mask(torch.tensor([ids], dtype=torch.long), scores)  # type: ignore[arg-type]
        steps.append(time.process_time() - started)
        ids.append(int(scores.argmax()))
    print(f"CPU time with {VOCABULARY:,} tokens: {seconds[0]:.2f} s once, {1e3 * seconds[1]:.1f} ms per answer,")
    print(f"{1e3 * median(steps):.2f} ms per token (median of {len(steps)}; at most {1e3 * max(steps):.1f} ms)")


if __name__ == "__main__":
    main()
