"""Answers that are JSON of a given schema: at each step, only tokens that continue such an answer are possible.

llguidance (extra [json]) computes which ones these are. It is imported at the first use.
"""

import json
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import LogitsProcessor

from longva_demo.errors import DemoError, one_line
from longva_demo.model import LongVAProcessor

if TYPE_CHECKING:
    from llguidance import LLTokenizer

MAX_SCHEMA_CHARACTERS = 20_000
MAX_REASON_CHARACTERS = 200


def check_schema(schema: str, is_here: bool = True) -> None:
    """Raises DemoError if llguidance is not installed, or the schema (JSON as text) is too long or not supported.

    `is_here`: the model is in this process. An engine elsewhere has llguidance itself, and refuses what it must.
    """
    if len(schema) > MAX_SCHEMA_CHARACTERS:
        raise DemoError(f"the JSON schema has {len(schema):,} characters", f"use {MAX_SCHEMA_CHARACTERS:,} or fewer")
    if find_spec("llguidance") is None:
        if not is_here:
            return
        raise DemoError("answers of a JSON schema need the package llguidance", "run pip install llguidance")
    from llguidance import LLMatcher

    try:
        reason = LLMatcher.validate_grammar(grammar_of(schema))
    except ValueError as error:
        reason = str(error)
    if reason:
        reason = one_line(reason)[:MAX_REASON_CHARACTERS]
        raise DemoError(f"the JSON schema is not supported ({reason})", "use a simpler one")


class SchemaMask(LogitsProcessor):
    """Makes all tokens impossible that do not continue an answer of `schema`. For one answer."""

    def __init__(self, processor: LongVAProcessor, stop_ids: frozenset[int], vocab_size: int, schema: str) -> None:
        """`vocab_size`: of the logits, which may be more than the tokenizer's."""
        from llguidance import LLMatcher

        tokenizer = grammar_tokenizer(processor, stop_ids, vocab_size)
        self._matcher = LLMatcher(tokenizer, grammar_of(schema))
        self._num_seen = 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """input_ids: (1, tokens) of the answer so far. scores: (1, vocabulary)."""
        self._matcher.consume_tokens(input_ids[0, self._num_seen :].tolist())
        self._num_seen = input_ids.shape[1]
        assert not self._matcher.is_error(), "the model chose a token that was masked"
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: scores.shape[1]].astype(bool)
        mask = torch.from_numpy(~allowed).to(scores.device)
        scores[:, : len(mask)].masked_fill_(mask, float("-inf"))
        scores[:, len(mask) :] = float("-inf")
        return scores


def grammar_of(schema: str) -> str:
    """Without optional spaces, which a small model may write without end. Raises ValueError if it is not JSON."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})


@lru_cache(maxsize=1)
def grammar_tokenizer(processor: LongVAProcessor, stop_ids: frozenset[int], vocab_size: int) -> "LLTokenizer":
    """Takes about a second for LongVA-7B's tokenizer. The normaliser is left out: it changes what users write."""
    from llguidance import LLTokenizer

    description = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    description |= {"normalizer": None, "truncation": None, "padding": None}
    return LLTokenizer(json.dumps(description), n_vocab=vocab_size, eos_token=sorted(stop_ids))
